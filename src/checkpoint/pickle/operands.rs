//! Reads the operands of opcodes from untrusted bytes.

use super::value::Value;
use super::{Refusal, refuse, shown};

/// The bytes of a pickle, read from the front.
pub(super) struct Operands<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Operands<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Operands<'a> {
        Operands { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        match self.bytes[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => refuse(format!("cut short: {N} bytes expected, {} left", self.bytes.len() - self.at)),
        }
    }

    /// The next `length` bytes; `length` comes from the file.
    fn take(&mut self, length: u64) -> Result<&'a [u8], Refusal> {
        let left = &self.bytes[self.at..];
        let taken = usize::try_from(length).ok().and_then(|n| left.get(..n));
        let Some(taken) = taken else {
            return refuse(format!("{length} bytes expected, {} left", left.len()));
        };
        self.at += taken.len();
        Ok(taken)
    }

    /// The operand of an opcode that is prefixed by its length.
    pub(super) fn counted(&mut self, opcode: u8) -> Result<&'a [u8], Refusal> {
        let length = match opcode {
            b'U' | b'C' | b'\x8c' => u64::from(self.array::<1>()?[0]),
            b'T' | b'B' | b'X' => u64::from(u32::from_le_bytes(self.array()?)),
            _ => u64::from_le_bytes(self.array()?),
        };
        self.take(length)
    }

    /// Text up to the end of a line.
    pub(super) fn line(&mut self) -> Result<&'a [u8], Refusal> {
        let left = &self.bytes[self.at..];
        let Some(end) = left.iter().position(|b| *b == b'\n') else {
            return refuse("cut short: a line without an end".into());
        };
        self.at += end + 1;
        Ok(left[..end].strip_suffix(b"\r").unwrap_or(&left[..end]))
    }

    /// A decimal number that fills a line.
    pub(super) fn decimal<T: std::str::FromStr>(&mut self) -> Result<T, Refusal> {
        let line = self.line()?;
        let number = str::from_utf8(line).ok().and_then(|t| t.trim_end_matches('L').parse().ok());
        number.ok_or_else(|| Refusal::Reason(format!("expected a number, found `{}`", shown(line))))
    }

    /// The value of an integer or boolean opcode.
    pub(super) fn integer(&mut self, opcode: u8) -> Result<Value<'a>, Refusal> {
        Ok(match opcode {
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Int(self.array::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'\x8a' | b'\x8b' => {
                let length = match opcode {
                    b'\x8a' => u64::from(self.array::<1>()?[0]),
                    _ => u64::from(u32::from_le_bytes(self.array()?)),
                };
                let bytes = self.take(length)?;
                match bytes.len() {
                    n @ 0..=8 => {
                        let sign = if bytes.last().is_some_and(|b| *b >= 0x80) { 0xff } else { 0 };
                        let mut wide = [sign; 8];
                        wide[..n].copy_from_slice(bytes);
                        Value::Int(i64::from_le_bytes(wide))
                    }
                    _ => Value::Long(bytes),
                }
            }
            // Protocol 1 has no opcodes for booleans.
            b'I' if self.bytes[self.at..].starts_with(b"00\n") => {
                self.at += 3;
                Value::Bool(false)
            }
            b'I' if self.bytes[self.at..].starts_with(b"01\n") => {
                self.at += 3;
                Value::Bool(true)
            }
            _ => {
                let start = self.at;
                let line = self.line()?;
                if line.len() > 19 && line.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'L')) {
                    return Ok(Value::Long(line));
                }
                self.at = start;
                Value::Int(self.decimal()?)
            }
        })
    }
}
