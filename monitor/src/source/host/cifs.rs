//! cifs
