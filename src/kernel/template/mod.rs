//! The text pass over the shaders in `shaders/`: unrolls loops, keeps the branch taken, gives array elements names of their own.
//!
//! The files are valid WGSL as they are; comments that begin with `//#` tell this pass what to change, line by line (`shaders/README.md`
//! is the contract):
//! * `//# unroll`, before a `for` with constant bounds: its body once per round. `//# unroll if C`: only where `C` holds.
//! * `//# if`, before an `if` chain of constant conditions: the branch taken.
//! * `//# unless C`, before an `if`: where `C` holds, the body without the test.
//! * `//# registers`, before `var name: array<T, N>;`: `N` variables. `//# values`: the same where every element is set once.
//! * `//# for r in LIST` .. `//# end`: once per item, with `R0_` and `_r0` numbered; `//# when C` .. `//# end`: only where `C` holds.
//!
//! Why text: naga writes every loop as `while (true)`, and a compiler in a browser keeps an indexed array in memory.

mod lines;
#[cfg(test)]
mod tests;

pub(super) use lines::numbered;

use super::constants::{Constants, Value};
use lines::{closing, constant, indent, place, product, replaced};
use std::fmt::Write;

/// `text` without its markers.
///
/// # Panics
/// At an unknown marker, or where a needed value is not constant: a mistake in a file of this crate, found by the tests that expand every
/// file.
pub(super) fn expand(text: &str, constants: &Constants) -> String {
    let out = String::with_capacity(4 * text.len());
    let (registers, bound) = (vec![], vec![]);
    let constants = constants.clone();
    let mut pass = Pass { constants, registers, bound, dedent: 0, repeats: 0, out, sum: None };
    pass.lines(&analysed(text));
    pass.out
}

/// A line of a file.
struct Line<'a> {
    /// The line unchanged.
    raw: &'a str,
    /// The line without surrounding white space.
    text: &'a str,
    comment: bool,
    /// Number of lines to the end of the block it opens; 0 where it opens none.
    block: usize,
}

/// The lines of a text, with the extents of their blocks.
fn analysed(text: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = vec![];
    let mut open = vec![];
    for (at, raw) in text.lines().enumerate() {
        let text = raw.trim();
        let comment = text.starts_with("//");
        lines.push(Line { raw, text, comment: comment && !text.starts_with("//#"), block: 0 });
        for c in text.chars().filter(|_| !comment) {
            match c {
                '{' => open.push(at),
                '}' => {
                    if let Some(first) = open.pop() {
                        lines[first].block = at - first;
                    }
                }
                _ => {}
            }
        }
    }
    lines
}

/// An array whose elements become separate variables.
#[derive(Clone)]
struct Register {
    name: String,
    /// `//# values`: each element is set once, and its assignment becomes a `let`.
    once: bool,
}

struct Pass {
    /// Constants of the shader, and the values of unrolled loop variables.
    constants: Constants,
    registers: Vec<Register>,
    /// Unrolled loop variables and their replacements.
    bound: Vec<(String, String)>,
    /// Columns by which lines are dedented because enclosing braces were removed.
    dedent: usize,
    /// Number of enclosing loops past their first round: comments are printed in the first round only.
    repeats: usize,
    out: String,
    /// The variable the last line adds products to, and the extent of that line in `out`.
    sum: Option<(String, usize, usize)>,
}

impl Pass {
    fn lines(&mut self, lines: &[Line<'_>]) {
        let mut at = 0;
        while at < lines.len() {
            at += match lines[at].text.strip_prefix("//# ") {
                None => {
                    self.line(&lines[at]);
                    1
                }
                Some(marker) => self.marked(marker, &lines[at + 1..]) + 1,
            };
        }
    }

    /// Expands the lines after a marker; returns how many it consumed.
    fn marked(&mut self, marker: &str, rest: &[Line<'_>]) -> usize {
        let (word, argument) = marker.split_once(' ').unwrap_or((marker, ""));
        match (word, argument) {
            ("unroll", "") => self.unroll(rest, false),
            ("unroll", condition) => {
                let condition = condition.strip_prefix("if ").unwrap_or_else(|| bad(marker, rest));
                if self.holds(condition) { self.unroll(rest, true) } else { 0 }
            }
            ("if", "") => self.branch(rest),
            ("unless", condition) => {
                if !self.holds(condition) {
                    return 0;
                }
                let end = block("unless", rest);
                if rest[end].text != "}" {
                    bad("unless", rest);
                }
                self.body(&rest[1..end]);
                end + 1
            }
            ("registers" | "values", "") => self.declare(rest, word == "values"),
            ("for", list) => {
                let (item, list) = list.split_once(" in ").unwrap_or_else(|| bad(marker, rest));
                let item = item.chars().next().unwrap_or_else(|| bad(marker, rest));
                let end = section(rest);
                for n in 0..self.number(list) {
                    let lines = rest[..end].iter().map(|line| numbered(line.raw, item, item, n) + "\n");
                    self.lines(&analysed(&lines.collect::<String>()));
                }
                end + 1
            }
            ("when", condition) => {
                let end = section(rest);
                if self.holds(condition) {
                    self.lines(&rest[..end]);
                }
                end + 1
            }
            _ => bad(marker, rest),
        }
    }

    /// Unrolls a loop; returns the number of lines consumed. With `once`, a loop declared to have a single round may start at a value
    /// that is not constant.
    fn unroll(&mut self, rest: &[Line<'_>], once: bool) -> usize {
        let end = block("unroll", rest);
        let Loop { name, first, bound, step } =
            Loop::parse(rest[0].text).unwrap_or_else(|| bad("unroll", rest));
        let body = &rest[1..end];
        let Some(Value::Number(first)) = self.constants.evaluate(first) else {
            // One round, from a start that is not constant.
            let word = first.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !once || !word {
                bad("unroll", rest);
            }
            self.bound.push((name.to_string(), first.to_string()));
            self.body(body);
            self.bound.pop();
            return end + 1;
        };
        let (bound, step) = (self.number(bound), self.number(step));
        let before = self.constants.get(name);
        for (round, n) in (first..bound).step_by(step as usize).enumerate() {
            self.constants.set(name, Value::Number(n));
            self.bound.push((name.to_string(), format!("{n}u")));
            self.repeats += usize::from(round > 0);
            self.body(body);
            self.repeats -= usize::from(round > 0);
            self.bound.pop();
        }
        self.constants.reset(name, before);
        end + 1
    }

    /// Expands a block without its braces, unless it declares something.
    fn body(&mut self, lines: &[Line<'_>]) {
        let first = lines.iter().find(|line| !line.text.is_empty()).map_or(0, |line| indent(line.raw));
        let braces = declares(lines);
        let own = if braces { 0 } else { 4 };
        let outer = " ".repeat(first.saturating_sub(4 + self.dedent));
        if braces {
            self.push(&format!("{outer}{{"));
        }
        let registers = if braces { self.registers.clone() } else { vec![] };
        self.dedent += own;
        self.lines(lines);
        self.dedent -= own;
        if braces {
            // Declarations end with the block.
            self.registers = registers;
            self.push(&format!("{outer}}}"));
        }
    }

    /// Expands the branch taken of an `if` chain; returns the number of lines consumed.
    fn branch(&mut self, rest: &[Line<'_>]) -> usize {
        let (mut at, mut taken) = (0, false);
        loop {
            let head = rest[at].text.trim_start_matches("} ");
            let end = at + block("if", &rest[at..]);
            let condition = match head {
                "else {" => None,
                _ => Some(
                    head.trim_start_matches("else ")
                        .strip_prefix("if ")
                        .and_then(|c| c.strip_suffix(" {"))
                        .unwrap_or_else(|| bad("if", &rest[at..])),
                ),
            };
            if !taken && condition.is_none_or(|c| self.holds(c)) {
                taken = true;
                self.body(&rest[at + 1..end]);
            }
            if !rest[end].text.starts_with("} else") {
                return end + 1;
            }
            at = end;
        }
    }

    /// Declares `var name: array<T, N>;` as N variables; returns the number of lines consumed.
    fn declare(&mut self, rest: &[Line<'_>], once: bool) -> usize {
        let parsed = rest[0].text.strip_prefix("var ").and_then(|line| {
            let (name, of) = line.split_once(": array<")?;
            let of = of.strip_suffix(">;")?;
            let mut depth = 0;
            let comma = of.char_indices().find(|(_, c)| {
                depth += match c {
                    '<' | '(' => 1,
                    '>' | ')' => -1,
                    _ => 0,
                };
                *c == ',' && depth == 0
            });
            let (kind, count) = of.split_at(comma?.0);
            Some((name, kind, count.trim_start_matches(", ")))
        });
        let (name, kind, count) = parsed.unwrap_or_else(|| bad("registers", rest));
        self.registers.retain(|r| r.name != name);
        self.registers.push(Register { name: name.to_string(), once });
        if !once {
            let pad = " ".repeat(indent(rest[0].raw).saturating_sub(self.dedent));
            for n in 0..self.number(count) {
                self.push(&format!("{pad}var {name}_{n} = {kind}();"));
            }
        }
        1
    }

    fn line(&mut self, line: &Line<'_>) {
        let own = &line.raw[self.dedent.min(indent(line.raw))..];
        if line.comment {
            return if self.repeats == 0 {
                self.push(own)
            };
        }
        let mut line = replaced(own, &self.bound);
        if line.contains('[') {
            line = self.named(&line);
        }
        if let Some((name, value)) = constant(&line)
            && let Some(value) = self.constants.evaluate(value)
        {
            self.constants.set(name, value);
        }
        let Some((target, value)) = product(&line) else { return self.push(&line) };
        // A sum of products is one expression: `a += b * c;` and `a += d * e;` become `a = a + b * c + d * e;`.
        match self.sum.take() {
            Some((last, begin, end)) if last == target && end == self.out.len() => {
                let first = self.out.split_off(begin).replace(" += ", &format!(" = {target} + "));
                self.out.push_str(&first[..first.len() - 2]);
                let _ = writeln!(self.out, " + {value};");
                self.sum = Some((last, begin, self.out.len()));
            }
            _ => {
                let begin = self.out.len();
                self.push(&line);
                self.sum = Some((target.to_string(), begin, self.out.len()));
            }
        }
    }

    fn push(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    /// Replaces elements of register arrays by variables, and elements of constant lists by values.
    fn named(&self, line: &str) -> String {
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(open) = rest.find('[') {
            let (before, after) = rest.split_at(open);
            let begin = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
            let (before, name) = before.split_at(begin);
            out.push_str(before);
            // An element of a constant list is its value.
            if let Some(close) = closing(after).filter(|_| self.constants.is_list(name))
                && let Some(value) = self.constants.evaluate(&format!("{name}{}", &after[..=close]))
            {
                out.push_str(&value.wgsl());
                rest = &after[close + 1..];
                continue;
            }
            let register = self.registers.iter().find(|r| r.name == name);
            let Some(Register { once, .. }) = register.filter(|_| !before.ends_with('.')) else {
                out.push_str(name);
                out.push('[');
                rest = &after[1..];
                continue;
            };
            let close = closing(after).unwrap_or_else(|| panic!("{}no `]` in `{line}`", place(line)));
            let index = self.number_in(&after[1..close], line);
            if *once && out.trim().is_empty() && after[close + 1..].starts_with(" = ") {
                out.push_str("let ");
            }
            let _ = write!(out, "{name}_{index}");
            rest = &after[close + 1..];
        }
        out.push_str(rest);
        out
    }

    fn holds(&self, condition: &str) -> bool {
        match self.constants.evaluate(condition) {
            Some(Value::Flag(flag)) => flag,
            found => panic!("{}`{condition}` is no constant condition, found {found:?}", place(condition)),
        }
    }

    fn number(&self, expression: &str) -> u32 {
        self.number_in(expression, expression)
    }

    fn number_in(&self, expression: &str, line: &str) -> u32 {
        match self.constants.evaluate(expression) {
            Some(Value::Number(n)) => n,
            Some(found) => panic!("{}`{expression}` is {found:?}, expected a number", place(line)),
            None => panic!(
                "{}`{expression}` is no constant number in `{}` (is an `//# unroll` missing around it?)",
                place(line),
                line.trim()
            ),
        }
    }
}

/// The head of `for (var name = first; name < bound; name += step) {`.
struct Loop<'a> {
    name: &'a str,
    first: &'a str,
    bound: &'a str,
    step: &'a str,
}

impl<'a> Loop<'a> {
    fn parse(line: &'a str) -> Option<Loop<'a>> {
        let head = line.trim().strip_prefix("for (var ")?.strip_suffix(") {")?;
        let mut parts = head.split("; ");
        let (name, first) = parts.next()?.split_once(" = ")?;
        let bound = parts.next()?.strip_prefix(name)?.strip_prefix(" < ")?;
        let step = parts.next()?.strip_prefix(name)?;
        let step = if step == "++" { "1u" } else { step.strip_prefix(" += ")? };
        Some(Loop { name, first, bound, step })
    }
}

fn bad(marker: &str, rest: &[Line<'_>]) -> ! {
    let line = rest.first().map(|line| line.text).unwrap_or_default();
    let hint = match line.ends_with(" {") || marker == "registers" {
        true => "",
        false => " (a line that opens a block ends in ` {`)",
    };
    panic!("{}`//# {marker}` before `{line}`{hint}", place(line))
}

/// Number of lines to the end of the block that the first line opens.
fn block(marker: &str, lines: &[Line<'_>]) -> usize {
    match lines.first() {
        Some(line) if line.block > 0 && line.block < lines.len() => line.block,
        _ => bad(marker, lines),
    }
}

/// Index of the `//# end` that closes the section.
fn section(lines: &[Line<'_>]) -> usize {
    let mut depth = 0;
    for (n, line) in lines.iter().enumerate() {
        if line.text.starts_with("//# for ") || line.text.starts_with("//# when ") {
            depth += 1;
        } else if line.text == "//# end" {
            if depth == 0 {
                return n;
            }
            depth -= 1;
        }
    }
    bad("for", lines)
}

/// Whether a block declares something at its own level and so needs braces. Arrays of `//# values` count where they are declared.
fn declares(lines: &[Line<'_>]) -> bool {
    let own =
        lines.iter().filter(|line| !line.text.is_empty()).map(|line| indent(line.raw)).min().unwrap_or(0);
    let declares = |text: &str| text.starts_with("let ") || text.starts_with("var ");
    lines.iter().any(|line| declares(line.text) && indent(line.raw) == own)
}
