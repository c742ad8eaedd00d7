//! The pickle machine: reads the opcodes of protocols 1 to 5 and builds values. It calls nothing.
//!
//! Memory is bounded by [`MAX_VALUES`], whatever the length of the pickle: text and bytes are borrowed from the file, and every
//! value kept on the stack, in the memo or in an object is counted. Every opcode does a bounded amount of work, so time is linear
//! in the pickle's length.

use super::globals::{self, Global};
use super::operands::Operands;
use super::value::{Object, Pickle, Value};
use super::{Refusal, refuse, shown};
use std::collections::HashMap;

/// Maximum values of a pickle. A training checkpoint of a thousand tensors, optimizer included, has about a hundred thousand; a value
/// takes 24 bytes.
const MAX_VALUES: usize = 1 << 20;

/// Reads one pickle from the start of `bytes`. Bytes after its STOP opcode are left to the caller.
pub(super) fn run(bytes: &[u8]) -> Result<Pickle<'_>, Refusal> {
    let mut machine = Machine {
        operands: Operands::new(bytes),
        stack: vec![],
        marks: vec![],
        memo: HashMap::new(),
        objects: vec![],
        values: 0,
    };
    loop {
        let opcode_at = machine.operands.position();
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => {
                let length = machine.operands.position();
                return Ok(Pickle { root, objects: machine.objects, length });
            }
            Err(Refusal::Reason(reason)) => {
                return Err(Refusal::Reason(format!("byte {opcode_at} of the pickle: {reason}")));
            }
            Err(refusal) => return Err(refusal),
        }
    }
}

pub(super) struct Machine<'a> {
    operands: Operands<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at which a MARK was set.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Vec<Object<'a>>,
    /// Values counted against [`MAX_VALUES`].
    values: usize,
}

type Done<'a> = Result<Option<Value<'a>>, Refusal>;

impl<'a> Machine<'a> {
    /// Executes one opcode; returns the value of the pickle at STOP.
    fn step(&mut self) -> Done<'a> {
        let [opcode] = self.operands.array()?;
        if opcode == b'.' {
            return self.stop();
        }
        let known = self.control_op(opcode)?
            || self.scalar_op(opcode)?
            || self.container_op(opcode)?
            || self.class_op(opcode)?
            || self.memo_op(opcode)?;
        match known {
            true => Ok(None),
            false => refuse(format!("opcode 0x{opcode:02x}, which torch.save does not write")),
        }
    }

    /// Executes an opcode of the protocol or of the stack; `false` for any other.
    fn control_op(&mut self, opcode: u8) -> Result<bool, Refusal> {
        match opcode {
            b'\x80' => match self.operands.array()? {
                [protocol @ 0..=5] => log::trace!("pickle protocol {protocol}"),
                [protocol] => return refuse(format!("protocol {protocol}, expected 5 at most")),
            },
            // A frame only tells how far a reader may buffer.
            b'\x95' => {
                let length = u64::from_le_bytes(self.operands.array()?);
                if length > self.operands.left() as u64 {
                    return refuse(format!("a frame of {length} bytes, more than are left"));
                }
            }
            b'(' => {
                self.count(1)?;
                self.marks.push(self.stack.len());
            }
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_mark()?),
            b'2' => self.push(self.top()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Executes an opcode that pushes a number, text or another value without parts; `false` for any other.
    fn scalar_op(&mut self, opcode: u8) -> Result<bool, Refusal> {
        match opcode {
            b'N' => self.push(Value::None)?,
            b'\x88' => self.push(Value::Bool(true))?,
            b'\x89' => self.push(Value::Bool(false))?,
            b'J' | b'K' | b'M' | b'\x8a' | b'\x8b' | b'I' | b'L' => {
                let value = self.operands.integer(opcode)?;
                self.push(value)?;
            }
            b'G' => {
                self.operands.array::<8>()?;
                self.push(Value::Opaque)?;
            }
            b'F' => {
                self.operands.line()?;
                self.push(Value::Opaque)?;
            }
            b'U' | b'T' | b'X' | b'\x8c' | b'\x8d' => {
                let text = self.operands.counted(opcode)?;
                self.push(Value::Str(text))?;
            }
            b'B' | b'C' | b'\x8e' | b'\x96' => {
                self.operands.counted(opcode)?;
                self.push(Value::Opaque)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Executes an opcode that creates a list, tuple, dictionary or set, or adds to one; `false` for any other.
    fn container_op(&mut self, opcode: u8) -> Result<bool, Refusal> {
        match opcode {
            b']' => self.create(Object::List(vec![]))?,
            b')' => self.create(Object::Tuple(vec![]))?,
            b'}' => self.create(Object::Dict(vec![]))?,
            b'\x8f' => self.push(Value::Opaque)?,
            b'\x85'..=b'\x87' => {
                let n = usize::from(opcode - b'\x84');
                let start = self.stack.len().checked_sub(n).filter(|s| *s >= self.floor());
                let Some(start) = start else { return refuse("the stack is empty".into()) };
                let items = self.stack.split_off(start);
                self.create_from(Object::Tuple(items), n)?;
            }
            b't' | b'l' => {
                let items = self.pop_mark()?;
                let n = items.len();
                self.create_from(if opcode == b't' { Object::Tuple(items) } else { Object::List(items) }, n)?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.create(Object::Dict(vec![]))?;
                self.set_items(&items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            b'\x90' => {
                self.pop_mark()?;
                match self.top()? {
                    Value::Opaque => {}
                    _ => return refuse("adds items to what is no set".into()),
                }
            }
            b'\x91' => {
                self.pop_mark()?;
                self.push(Value::Opaque)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Executes an opcode that names, makes or builds an object of a class, or loads a storage; `false` for any other.
    fn class_op(&mut self, opcode: u8) -> Result<bool, Refusal> {
        match opcode {
            b'c' => {
                let module = self.operands.line()?;
                let name = self.operands.line()?;
                self.push(Value::Global(global(module, name)?))?;
            }
            b'\x93' => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Str(module), Value::Str(name)) = (module, name) else {
                    return refuse("a global whose name is no text".into());
                };
                self.push(Value::Global(global(module, name)?))?;
            }
            b'R' | b'\x81' => {
                let arguments = self.pop()?;
                let callee = self.pop()?;
                let made = self.construct(callee, arguments)?;
                self.push(made)?;
            }
            b'\x92' => {
                let (_keywords, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                match (self.construct(callee, arguments)?, callee) {
                    (made, Value::Global(Global::Value | Global::Dict)) => self.push(made)?,
                    _ => return refuse("a tensor made with keyword arguments".into()),
                }
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.create(Object::Storage(storage))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Executes an opcode that puts a value into the memo or gets one from it; `false` for any other.
    fn memo_op(&mut self, opcode: u8) -> Result<bool, Refusal> {
        match opcode {
            b'q' => {
                let [index] = self.operands.array()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.operands.array()?);
                self.remember(index)?;
            }
            b'p' => {
                let index = self.operands.decimal()?;
                self.remember(index)?;
            }
            b'\x94' => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let [index] = self.operands.array()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.operands.array()?);
                self.recall(index)?;
            }
            b'g' => {
                let index = self.operands.decimal()?;
                self.recall(index)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn stop(&mut self) -> Done<'a> {
        let root = self.pop()?;
        match (self.stack.len(), self.marks.len()) {
            (0, 0) => Ok(Some(root)),
            (n, m) => refuse(format!("{n} values and {m} marks are left on the stack at its end")),
        }
    }

    /// Counts values that will be kept.
    pub fn count(&mut self, values: usize) -> Result<(), Refusal> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            return refuse(format!("more than {MAX_VALUES} values: no checkpoint of weights has as many"));
        }
        Ok(())
    }

    /// The lowest height that the stack may shrink to: its height at the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), Refusal> {
        if self.stack.len() >= MAX_VALUES {
            return refuse(format!("more than {MAX_VALUES} values on the stack"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn top(&self) -> Result<Value<'a>, Refusal> {
        let top = self.stack[self.floor()..].last().copied();
        top.ok_or_else(|| Refusal::Reason("the stack is empty".into()))
    }

    fn pop(&mut self) -> Result<Value<'a>, Refusal> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>, Refusal> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => refuse("no mark on the stack".into()),
        }
    }

    /// Stores an object that holds `held` values, and returns a value that refers to it.
    pub fn object(&mut self, object: Object<'a>, held: usize) -> Result<Value<'a>, Refusal> {
        self.count(held + 1)?;
        self.objects.push(object);
        Ok(Value::Object((self.objects.len() - 1) as u32))
    }

    fn create(&mut self, object: Object<'a>) -> Result<(), Refusal> {
        self.create_from(object, 0)
    }

    fn create_from(&mut self, object: Object<'a>, held: usize) -> Result<(), Refusal> {
        let value = self.object(object, held)?;
        self.push(value)
    }

    pub fn get(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(index) => self.objects.get(index as usize),
            _ => None,
        }
    }

    fn top_object(&mut self) -> Result<Option<&mut Object<'a>>, Refusal> {
        Ok(match self.top()? {
            Value::Object(index) => self.objects.get_mut(index as usize),
            Value::Opaque => None,
            _ => return refuse("adds items to what is no container".into()),
        })
    }

    fn append(&mut self, items: &[Value<'a>]) -> Result<(), Refusal> {
        self.count(items.len())?;
        match self.top_object()? {
            Some(Object::List(list)) => list.extend_from_slice(items),
            // An instance of a class derived from list.
            None => {}
            Some(_) => return refuse("appends to what is no list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Result<(), Refusal> {
        self.count(items.len())?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return refuse("a key without a value".into());
        }
        match self.top_object()? {
            Some(Object::Dict(entries)) => entries.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            None => {}
            Some(_) => return refuse("sets items of what is no dictionary".into()),
        }
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<(), Refusal> {
        self.count(1)?;
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), Refusal> {
        match self.memo.get(&index) {
            Some(value) => self.push(*value),
            None => refuse(format!("memo {index} was never set")),
        }
    }

    /// BUILD sets attributes. Attributes of dictionaries and of opaque values do not affect weights (`_metadata` of a state
    /// dict). A tensor with a state other than a dictionary is refused, since its meaning could change.
    fn build(&mut self, state: Value<'a>) -> Result<(), Refusal> {
        let is_dict = matches!(state, Value::None) || matches!(self.get(state), Some(Object::Dict(_)));
        match self.top_object()? {
            None | Some(Object::Dict(_)) => Ok(()),
            Some(Object::Tensor(_)) if is_dict => Ok(()),
            Some(_) => refuse("sets the state of a tensor or container anew".into()),
        }
    }
}

fn global(module: &[u8], name: &[u8]) -> Result<Global, Refusal> {
    let known = str::from_utf8(module).ok().zip(str::from_utf8(name).ok());
    let found = known.and_then(|(module, name)| globals::find(module, name));
    found.ok_or_else(|| Refusal::Global(format!("{}.{}", shown(module), shown(name))))
}
