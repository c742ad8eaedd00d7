//! Constructs the results of REDUCE, NEWOBJ and persistent ids: records for tensors and storages, opaque values for everything
//! else.

use super::Refusal;
use super::globals::{Element, Global, Rebuild, U8};
use super::machine::Machine;
use super::value::{Data, Object, Storage, TensorRecord, Value};
use super::{refuse, shown};

/// Maximum arguments of a function that makes tensors.
const MAX_ARGUMENTS: usize = 8;

/// Maximum dimensions of a tensor, as in PyTorch.
const MAX_DIMENSIONS: usize = 64;

impl<'a> Machine<'a> {
    /// The value of `callee(*arguments)`. Nothing is called: `callee` is a name on the allow-list.
    pub fn construct(&mut self, callee: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>, Refusal> {
        let Some(Object::Tuple(list)) = self.get(arguments) else {
            return refuse("arguments that are no tuple".into());
        };
        // Missing arguments become `None`; a function that requires one reports it.
        let mut args = [Value::None; MAX_ARGUMENTS];
        for (to, from) in args.iter_mut().zip(list) {
            *to = *from;
        }
        match callee {
            Value::Global(Global::Value) | Value::Opaque => Ok(Value::Opaque),
            Value::Global(Global::Dict) => self.dictionary(&args),
            Value::Global(Global::Size) => Ok(args[0]),
            Value::Global(Global::Rebuild(how)) => self.rebuild(how, &args),
            Value::Global(Global::Unreadable(form)) => self.unreadable(form, &args),
            Value::Global(Global::Storage(_) | Global::Element(_) | Global::TensorClass) => {
                refuse("a tensor or storage whose values are not in a storage of the file".into())
            }
            _ => refuse("calls what is no class or function".into()),
        }
    }

    /// A dictionary from nothing, from another dictionary, or from the list of pairs that Python 2 wrote for an `OrderedDict`.
    /// The first argument of a `defaultdict` is the class of its values.
    fn dictionary(&mut self, args: &[Value<'a>; MAX_ARGUMENTS]) -> Result<Value<'a>, Refusal> {
        let mut entries = vec![];
        for arg in &args[..2] {
            match self.get(*arg) {
                Some(Object::Dict(from)) => {
                    let n = from.len();
                    self.count(2 * n)?;
                    if let Some(Object::Dict(from)) = self.get(*arg) {
                        entries.extend_from_slice(from);
                    }
                }
                Some(Object::List(pairs) | Object::Tuple(pairs)) => {
                    let n = pairs.len();
                    self.count(2 * n)?;
                    let Some(Object::List(pairs) | Object::Tuple(pairs)) = self.get(*arg) else { continue };
                    for pair in pairs {
                        match self.get(*pair) {
                            Some(Object::List(pair) | Object::Tuple(pair)) if pair.len() == 2 => {
                                entries.push((pair[0], pair[1]));
                            }
                            _ => return refuse("a dictionary of what are no pairs".into()),
                        }
                    }
                }
                _ => {}
            }
        }
        self.object(Object::Dict(entries), 0)
    }

    fn rebuild(&mut self, how: Rebuild, args: &[Value<'a>; MAX_ARGUMENTS]) -> Result<Value<'a>, Refusal> {
        match how {
            // (data, ..): a parameter is its tensor.
            Rebuild::Wrapper => match self.get(args[0]) {
                Some(Object::Tensor(_)) => Ok(args[0]),
                _ => refuse("a parameter of what is no tensor".into()),
            },
            // (function, class, arguments, state)
            Rebuild::FromType => match (args[0], args[1]) {
                (Value::Global(Global::Rebuild(inner)), Value::Global(Global::TensorClass))
                    if !matches!(inner, Rebuild::FromType) =>
                {
                    self.construct(args[0], args[2])
                }
                _ => refuse("a tensor of a class that is no tensor's".into()),
            },
            // (tensor, dtype, device, requires_grad)
            Rebuild::OnDevice => match (self.get(args[0]), args[1]) {
                (Some(Object::Tensor(t)), Value::Global(Global::Element(e))) if t.element.name == e.name => {
                    Ok(args[0])
                }
                _ => refuse("a tensor of a device that was saved as another type".into()),
            },
            // (storage, offset, shape, strides, requires_grad, hooks, metadata)
            Rebuild::Typed => {
                let storage = self.storage_of(args[0])?;
                self.strided(storage, storage.element, args, args[6])
            }
            // (storage, offset, shape, strides, requires_grad, hooks, dtype, metadata)
            Rebuild::Untyped => {
                let storage = self.storage_of(args[0])?;
                let Value::Global(Global::Element(element)) = args[6] else {
                    return refuse("a tensor without a dtype".into());
                };
                if storage.element.name != U8 {
                    return refuse(format!("a tensor of a typed storage ({})", storage.element.name));
                }
                self.strided(storage, element, args, args[7])
            }
        }
    }

    fn storage_of(&self, value: Value<'a>) -> Result<Storage<'a>, Refusal> {
        match self.get(value) {
            Some(Object::Storage(storage)) => Ok(*storage),
            _ => refuse("a tensor without a storage".into()),
        }
    }

    fn strided(
        &mut self,
        storage: Storage<'a>,
        element: &'static Element,
        args: &[Value<'a>; MAX_ARGUMENTS],
        metadata: Value<'a>,
    ) -> Result<Value<'a>, Refusal> {
        let offset = natural(args[1], "a storage offset")?;
        let shape = self.naturals(args[2], "a dimension")?;
        let strides = self.naturals(args[3], "a stride")?;
        if shape.len() != strides.len() {
            return refuse(format!("a tensor of {} dimensions and {} strides", shape.len(), strides.len()));
        }
        // Flags that mark the values as pending conjugation or negation.
        let pending = match self.get(metadata) {
            Some(Object::Dict(entries)) => entries.iter().any(|(_, v)| !matches!(v, Value::Bool(false))),
            _ => !matches!(metadata, Value::None),
        };
        let data = if pending {
            Data::Unreadable("lazily negated")
        } else {
            Data::Strided { storage, offset, strides }
        };
        self.tensor(TensorRecord { element, shape, data })
    }

    fn tensor(&mut self, record: TensorRecord<'a>) -> Result<Value<'a>, Refusal> {
        let held = 4 + record.shape.len();
        self.object(Object::Tensor(Box::new(record)), held)
    }

    /// A tensor whose values are not a strided array. Its shape is reported if the arguments contain it.
    fn unreadable(
        &mut self,
        form: &'static super::globals::Unreadable,
        args: &[Value<'a>; MAX_ARGUMENTS],
    ) -> Result<Value<'a>, Refusal> {
        let place = match (form.nested, self.get(args[1])) {
            (true, Some(Object::Tuple(data))) => data.get(form.shape_at).copied().unwrap_or(Value::None),
            (true, _) => Value::None,
            (false, _) => args.get(form.shape_at).copied().unwrap_or(Value::None),
        };
        let shape = self.naturals(place, "a dimension").unwrap_or_default();
        let element = &super::globals::UNKNOWN;
        self.tensor(TensorRecord { element, shape, data: Data::Unreadable(form.name) })
    }

    fn naturals(&self, value: Value<'a>, what: &str) -> Result<Vec<usize>, Refusal> {
        let items = match self.get(value) {
            Some(Object::Tuple(items) | Object::List(items)) => items,
            _ => return refuse(format!("{what} is no tuple of numbers")),
        };
        if items.len() > MAX_DIMENSIONS {
            return refuse(format!("a tensor of {} dimensions", items.len()));
        }
        items.iter().map(|item| natural(*item, what)).collect()
    }

    /// The storage of a persistent id: `("storage", class, key, location, elements[, (key, offset, elements)])`.
    pub fn storage(&self, id: Value<'a>) -> Result<Storage<'a>, Refusal> {
        let Some(Object::Tuple(id)) = self.get(id) else {
            return refuse("a persistent id that is no tuple".into());
        };
        let [
            Value::Str(b"storage"),
            Value::Global(Global::Storage(element)),
            Value::Str(key),
            _,
            elements,
            rest @ ..,
        ] = id.as_slice()
        else {
            return refuse("a persistent id that is no storage's".into());
        };
        let part = match (rest.first(), rest.len()) {
            (None | Some(Value::None), 0 | 1) => None,
            (Some(part), 1) => match self.get(*part) {
                Some(Object::Tuple(part)) if part.len() == 3 => {
                    Some((natural(part[1], "a storage's offset")?, natural(part[2], "a storage's length")?))
                }
                _ => return refuse(format!("storage `{}`: a part that is no range", shown(key))),
            },
            _ => return refuse(format!("storage `{}`: {} fields", shown(key), id.len())),
        };
        Ok(Storage { key, element, elements: natural(*elements, "a storage's length")?, part })
    }
}

fn natural(value: Value, what: &str) -> Result<usize, Refusal> {
    match value {
        Value::Int(n) => {
            usize::try_from(n).map_err(|_| Refusal::Reason(format!("{what} of {n}, expected 0 or more")))
        }
        Value::Long(_) => refuse(format!("{what} beyond 64 bits")),
        _ => refuse(format!("{what} is no integer")),
    }
}
