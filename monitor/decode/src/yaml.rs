//! Plain values of YAML.
//!
//! In: a parsed value. Out: its text. Must not: make a text of a list or a mapping.

use yaml_serde::Value;

/// The text of a plain value; lists and mappings have none.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(word) => Some(word.to_string()),
        _ => None,
    }
}
