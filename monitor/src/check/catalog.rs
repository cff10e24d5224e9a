//! Every alert: name, severities, defaults, expression.
