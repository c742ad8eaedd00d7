//! Constants of a shader and an evaluator of WGSL constant expressions, on which the text pass bases its decisions.

use std::collections::HashMap;
use std::fmt::Write;

/// A value known when the shader text is generated.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A `u32`.
    Number(u32),
    /// A `bool`.
    Flag(bool),
    /// An array of numbers or flags.
    List(Vec<Value>),
}

impl From<usize> for Value {
    /// Saturates at 32 bits: kernels of larger buffers are refused before their text is printed.
    fn from(value: usize) -> Value {
        Value::Number(u32::try_from(value).unwrap_or(u32::MAX))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Number(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Flag(value)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

impl Value {
    /// As WGSL.
    pub(super) fn wgsl(&self) -> String {
        match self {
            Value::Number(n) => format!("{n}u"),
            Value::Flag(flag) => flag.to_string(),
            Value::List(values) => {
                let of = if matches!(values.first(), Some(Value::Flag(_))) { "bool" } else { "u32" };
                let mut text = format!("array<{of}, {}>(", values.len());
                for (n, value) in values.iter().enumerate() {
                    let comma = if n > 0 { ", " } else { "" };
                    let _ = write!(text, "{comma}{}", value.wgsl());
                }
                text + ")"
            }
        }
    }
}

/// Constants by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Constants {
    values: HashMap<String, Value>,
}

impl Constants {
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_string(), value);
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        self.values.get(name).cloned()
    }

    /// Whether a name is a list.
    pub(super) fn is_list(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::List(_)))
    }

    /// Restores a name to an earlier value, or removes it.
    pub(super) fn reset(&mut self, name: &str, value: Option<Value>) {
        match value {
            Some(value) => self.set(name, value),
            None => drop(self.values.remove(name)),
        }
    }

    /// The value of a constant expression of numbers and flags with sums, products, comparisons, `select`, `min`, `max` and list
    /// elements. `None` for anything else, and, as in WGSL, where an operation overflows.
    pub(super) fn evaluate(&self, expression: &str) -> Option<Value> {
        let mut parser = Parser { constants: self, rest: expression };
        let value = parser.expression(0)?;
        parser.rest.trim().is_empty().then_some(value)
    }
}

/// Operators by precedence, lowest first. Within a level, an operator stands before its own prefixes (`<=` before `<`).
const OPERATORS: &[&[&str]] =
    &[&["||"], &["&&"], &["|"], &["&"], &["==", "!=", "<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

struct Parser<'a> {
    constants: &'a Constants,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn expression(&mut self, level: usize) -> Option<Value> {
        let Some(operators) = OPERATORS.get(level) else { return self.unary() };
        let mut left = self.expression(level + 1)?;
        loop {
            let rest = self.rest.trim_start();
            let Some(operator) = operators.iter().find(|o| rest.starts_with(**o)) else { return Some(left) };
            // Do not take `&` for `&&`, nor `|` for `||`.
            if operator.len() == 1 && "&|".contains(operator) && rest[1..].starts_with(operator) {
                return Some(left);
            }
            self.rest = &rest[operator.len()..];
            let right = self.expression(level + 1)?;
            left = apply(operator, left, right)?;
        }
    }

    fn unary(&mut self) -> Option<Value> {
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix('!') {
            self.rest = rest;
            let Value::Flag(flag) = self.unary()? else { return None };
            return Some(Value::Flag(!flag));
        }
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest;
            let value = self.expression(0)?;
            self.take(")")?;
            return Some(value);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word.trim_end_matches('u').parse().ok().map(Value::Number);
        }
        match word {
            "" => None,
            "true" => Some(Value::Flag(true)),
            "false" => Some(Value::Flag(false)),
            "min" | "max" | "select" => self.call(word),
            name => {
                let Value::List(values) = self.constants.values.get(name)? else {
                    return self.constants.values.get(name).cloned();
                };
                self.take("[")?;
                let Value::Number(n) = self.expression(0)? else { return None };
                self.take("]")?;
                values.get(n as usize).cloned()
            }
        }
    }

    fn call(&mut self, function: &str) -> Option<Value> {
        self.take("(")?;
        let mut arguments = vec![self.expression(0)?];
        while self.take(",").is_some() {
            arguments.push(self.expression(0)?);
        }
        self.take(")")?;
        match (function, &arguments[..]) {
            ("min", [Value::Number(a), Value::Number(b)]) => Some(Value::Number(*a.min(b))),
            ("max", [Value::Number(a), Value::Number(b)]) => Some(Value::Number(*a.max(b))),
            ("select", [no, yes, Value::Flag(flag)]) => Some(if *flag { yes } else { no }.clone()),
            _ => None,
        }
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?;
        Some(())
    }
}

fn apply(operator: &str, left: Value, right: Value) -> Option<Value> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => Some(match operator {
            "+" => Value::Number(a.checked_add(b)?),
            "-" => Value::Number(a.checked_sub(b)?),
            "*" => Value::Number(a.checked_mul(b)?),
            "/" => Value::Number(a.checked_div(b)?),
            "%" => Value::Number(a.checked_rem(b)?),
            "==" => Value::Flag(a == b),
            "!=" => Value::Flag(a != b),
            "<" => Value::Flag(a < b),
            "<=" => Value::Flag(a <= b),
            ">" => Value::Flag(a > b),
            ">=" => Value::Flag(a >= b),
            "&" => Value::Number(a & b),
            "|" => Value::Number(a | b),
            _ => return None,
        }),
        (Value::Flag(a), Value::Flag(b)) => Some(Value::Flag(match operator {
            "&&" | "&" => a && b,
            "||" | "|" => a || b,
            "==" => a == b,
            "!=" => a != b,
            _ => return None,
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let mut constants = Constants::default();
        constants.set("A", 6u32.into());
        constants.set("ON", true.into());
        constants.set("LIST", vec![false, true].into());
        for (text, expected) in [
            ("A", Some(Value::Number(6))),
            ("2u + A * 3u - 1u", Some(Value::Number(19))),
            ("(2u + A) / 3u % 2u", Some(Value::Number(0))),
            ("A == 6u && ON", Some(Value::Flag(true))),
            ("A < 6u || !ON", Some(Value::Flag(false))),
            ("LIST[A / 6u]", Some(Value::Flag(true))),
            ("LIST[2u]", None),
            ("select(1u, 2u, A >= 6u)", Some(Value::Number(2))),
            ("max(A, 7u) & 3u", Some(Value::Number(3))),
            ("A - 7u", None),
            ("B + 1u", None),
            ("A +", None),
            ("A A", None),
        ] {
            assert_eq!(constants.evaluate(text), expected, "{text}");
        }
    }
}
