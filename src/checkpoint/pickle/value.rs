//! Values of a pickle, and the objects they refer to.

use super::globals::{Element, Global};

/// A value of the pickle. Objects are referred to by index, so that a value held in many places is stored once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, as the pickle spells it: little-endian, or decimal text in protocol 1.
    Long(&'a [u8]),
    /// Text; UTF-8 unless written by Python 2.
    Str(&'a [u8]),
    /// A class or function on the allow-list.
    Global(Global),
    /// Index into [`Pickle::objects`].
    Object(u32),
    /// Anything that does not affect tensors: floats, bytes, sets, NumPy arrays, settings.
    Opaque,
}

/// What a [`Value::Object`] refers to.
#[derive(Debug)]
pub(super) enum Object<'a> {
    List(Vec<Value<'a>>),
    Tuple(Vec<Value<'a>>),
    /// Entries in the order in which they were set; a key set twice occurs twice.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(Box<TensorRecord<'a>>),
}

/// A storage as the pickle names it. Its bytes are elsewhere in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub key: &'a [u8],
    pub element: &'static Element,
    pub elements: usize,
    /// First element and number of elements, if this storage is a part of the storage named `key` (legacy files).
    pub part: Option<(usize, usize)>,
}

/// A tensor as the pickle describes it, before its storage is looked up.
#[derive(Debug)]
pub(super) struct TensorRecord<'a> {
    pub element: &'static Element,
    pub shape: Vec<usize>,
    pub data: Data<'a>,
}

/// Where the elements of a tensor are.
#[derive(Debug)]
pub(super) enum Data<'a> {
    /// In a storage, from element `offset` on, `strides` elements apart.
    Strided { storage: Storage<'a>, offset: usize, strides: Vec<usize> },
    /// In a form other than a strided array, such as `sparse`.
    Unreadable(&'static str),
}

/// A pickle that was read to the end.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub root: Value<'a>,
    pub objects: Vec<Object<'a>>,
    /// Bytes up to and including the STOP opcode.
    pub length: usize,
}

impl<'a> Pickle<'a> {
    /// The object that a value refers to.
    pub fn object(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(index) => self.objects.get(index as usize),
            _ => None,
        }
    }
}
