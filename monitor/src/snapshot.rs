//! What we know at one instant: plain data; Option = unknown.
