//! Names the tensors of a pickled object: dictionary keys and list indices, joined with dots.

use super::value::{Object, Pickle, TensorRecord, Value};
use super::{Refusal, refuse, shown};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Maximum nesting of containers. A training checkpoint nests five deep.
const MAX_DEPTH: usize = 64;

/// Maximum number of visited objects. A container referenced from several places is visited once for each, so a few bytes could
/// otherwise expand without limit.
const MAX_VISITS: usize = 1 << 20;

/// Maximum bytes of a dictionary key.
const MAX_KEY: usize = 4096;
/// Maximum bytes of all names together.
const MAX_NAMES: usize = 8 << 20;

/// Tensors by their full name, such as `state_dict.conv1.weight`.
pub(super) type Tensors<'p, 'a> = BTreeMap<String, &'p TensorRecord<'a>>;

/// All tensors of a pickle.
pub(super) fn tensors<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Tensors<'p, 'a>, Refusal> {
    let mut walk =
        Walk { pickle, name: String::new(), depth: 0, visits: 0, names: 0, found: BTreeMap::new() };
    walk.visit(pickle.root)?;
    Ok(walk.found)
}

struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    name: String,
    depth: usize,
    visits: usize,
    names: usize,
    found: Tensors<'p, 'a>,
}

impl<'a> Walk<'_, 'a> {
    fn visit(&mut self, value: Value<'a>) -> Result<(), Refusal> {
        let pickle = self.pickle;
        let Some(object) = pickle.object(value) else { return Ok(()) };
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return refuse(format!(
                "containers that hold one another, over {MAX_VISITS} in all once unfolded"
            ));
        }
        match object {
            Object::Tensor(tensor) => {
                self.names += self.name.len();
                if self.names > MAX_NAMES {
                    return refuse(format!("names of tensors of over {MAX_NAMES} bytes in all"));
                }
                if self.found.insert(self.name.clone(), tensor).is_some() {
                    return refuse(format!("two tensors called `{}`", shown(self.name.as_bytes())));
                }
            }
            Object::Dict(entries) => {
                // Keys are used only for values that are objects.
                let objects = entries.iter().filter(|(_, value)| matches!(value, Value::Object(_)));
                for (key, value) in objects {
                    match key {
                        Value::Str(key) if key.len() > MAX_KEY => {
                            return refuse(format!(
                                "a key of {} bytes, expected at most {MAX_KEY}",
                                key.len()
                            ));
                        }
                        Value::Str(key) => self.enter(&String::from_utf8_lossy(key), *value)?,
                        Value::Int(key) => self.enter(key, *value)?,
                        // Keys of other types cannot be part of a name.
                        _ => {}
                    }
                }
            }
            Object::List(items) | Object::Tuple(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.enter(&index, *item)?;
                }
            }
            Object::Storage(_) => {}
        }
        Ok(())
    }

    fn enter(&mut self, key: &dyn std::fmt::Display, value: Value<'a>) -> Result<(), Refusal> {
        if !matches!(value, Value::Object(_)) {
            return Ok(());
        }
        if self.depth == MAX_DEPTH {
            return refuse(format!("containers nested over {MAX_DEPTH} deep, or one that holds itself"));
        }
        let outer = self.name.len();
        let dot = if self.depth == 0 { "" } else { "." };
        write!(self.name, "{dot}{key}").expect("text can be written");
        self.depth += 1;
        self.visit(value)?;
        self.depth -= 1;
        self.name.truncate(outer);
        Ok(())
    }
}
