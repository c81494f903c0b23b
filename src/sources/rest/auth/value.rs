//! References to secrets in the JSON body of a token request.

use serde_json::{Map, Value};

use crate::component::RunInfo;
use crate::error::Result;
use crate::secret::{Secret, SecretRef};

/// Reads a secret under the rules of the run.
pub(crate) fn read(reference: &SecretRef, run: &RunInfo) -> Result<Secret> {
    reference.read(&run.base, &run.secret_files)
}

/// Where a secret stands in a JSON value: an object with one member, `env` or `file`, that is a text.
fn reference(value: &Value) -> Option<SecretRef> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    match object.iter().next()? {
        (name, Value::String(text)) if name == "env" => Some(SecretRef::Env(text.clone())),
        (name, Value::String(text)) if name == "file" => Some(SecretRef::File(text.into())),
        _ => None,
    }
}

/// The object with each `{env: NAME}` and `{file: PATH}` replaced by the secret, which is put among `secrets`.
pub(crate) fn resolve(
    object: &Map<String, Value>,
    run: &RunInfo,
    secrets: &mut Vec<Secret>,
) -> Result<Map<String, Value>> {
    object
        .iter()
        .map(|(name, value)| Ok((name.clone(), resolve_value(value, run, secrets)?)))
        .collect()
}

fn resolve_value(value: &Value, run: &RunInfo, secrets: &mut Vec<Secret>) -> Result<Value> {
    if let Some(reference) = reference(value) {
        let secret = read(&reference, run)?;
        let text = Value::from(secret.expose());
        secrets.push(secret);
        return Ok(text);
    }
    Ok(match value {
        Value::Object(object) => Value::Object(resolve(object, run, secrets)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| resolve_value(item, run, secrets))
                .collect::<Result<_>>()?,
        ),
        other => other.clone(),
    })
}
