//! Parsed documents (Kubernetes objects, manifests of images) and pieces of text.
//!
//! In: YAML, text. Out: values, and parts of them. Must not: know what is right.

use anyhow::Result;
use serde::Deserialize as _;
use serde_json::Value;

/// The part at this JSON pointer; null where there is none.
#[must_use]
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The documents of a YAML stream, without the empty ones.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

/// What stands between two marks, as often as it occurs.
pub fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close)).map(|(inside, _)| inside)
}
