//! The text pass over the shaders in `shaders/`: unrolls loops, keeps the branch taken, gives array elements names of their own.
//!
//! The files are WGSL as they stand; comments that begin with `//#` mark what this pass changes, line by line
//! (`shaders/README.md` is the contract):
//! * `//# unroll`, before a `for` with constant bounds: its body once per round. `//# unroll if C`: only where `C` holds.
//! * `//# if`, before an `if` chain of constant conditions: the branch taken.
//! * `//# unless C`, before an `if`: where `C` holds its condition needs no test, and its body is left.
//! * `//# registers`, before `var name: array<T, N>;`: `N` variables. `//# values`: the same where every element is set once.
//! * `//# for r in LIST` .. `//# end`: once per item, with `R0_` and `_r0` numbered; `//# when C` .. `//# end`: only where `C` holds.
//!
//! Why text: naga writes every loop as `while (true)`, and a compiler in a browser keeps an indexed array in memory.

mod lines;
#[cfg(test)]
mod tests;

pub(super) use lines::numbered;

use super::constants::{Constants, Value};
use lines::{closing, constant, indent, is_comment, place, product, renamed};
use std::fmt::Write;

/// `text` without its markers.
///
/// # Panics
/// Where a marker is not one of the above, or what it needs is no constant: a mistake in a file of this crate, which the tests that
/// expand every file find.
pub(super) fn expand(text: &str, constants: &Constants) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let out = String::with_capacity(4 * text.len());
    let mut pass = Pass { constants: constants.clone(), registers: vec![], out, sum: None };
    pass.lines(&lines);
    pass.out
}

/// An array whose elements have names of their own.
struct Register {
    name: String,
    /// Set once each: the assignment declares them.
    once: bool,
}

struct Pass {
    constants: Constants,
    registers: Vec<Register>,
    out: String,
    /// The variable that the last line adds products to, and where that line begins and ends in `out`.
    sum: Option<(String, usize, usize)>,
}

impl Pass {
    fn lines(&mut self, lines: &[&str]) {
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            at += match line.trim_start().strip_prefix("//# ") {
                None => {
                    self.line(line);
                    1
                }
                Some(marker) => self.marked(marker.trim(), &lines[at + 1..]) + 1,
            };
        }
    }

    /// What follows a marker; how many lines that was.
    fn marked(&mut self, marker: &str, rest: &[&str]) -> usize {
        let (word, argument) = marker.split_once(' ').unwrap_or((marker, ""));
        match (word, argument) {
            ("unroll", "") => self.unroll(rest),
            ("unroll", condition) => {
                let condition = condition.strip_prefix("if ").unwrap_or_else(|| bad(marker, rest));
                if self.holds(condition) { self.unroll(rest) } else { 0 }
            }
            ("if", "") => self.branch(rest),
            ("unless", condition) => {
                if !self.holds(condition) {
                    return 0;
                }
                let end = block(rest);
                self.body(&rest[1..end]);
                end + 1
            }
            ("registers" | "values", "") => self.declare(rest, word == "values"),
            ("for", list) => {
                let (item, list) = list.split_once(" in ").unwrap_or_else(|| bad(marker, rest));
                let item = item.chars().next().unwrap_or_else(|| bad(marker, rest));
                let end = section(rest);
                for n in 0..self.number(list) {
                    let lines: Vec<String> =
                        rest[..end].iter().map(|line| numbered(line, item, item, n)).collect();
                    self.lines(&lines.iter().map(String::as_str).collect::<Vec<_>>());
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

    /// Writes the rounds of a loop one after the other; how many lines it was.
    fn unroll(&mut self, rest: &[&str]) -> usize {
        let end = block(rest);
        let Loop { name, first, bound, step } = Loop::parse(rest[0]).unwrap_or_else(|| bad("unroll", rest));
        let body = &rest[1..end];
        let Some(Value::Number(first)) = self.constants.evaluate(first) else {
            // Told that there is one round, from a start that is no constant.
            let round: Vec<String> = body.iter().map(|line| renamed(line, name, first)).collect();
            self.body(&round.iter().map(String::as_str).collect::<Vec<_>>());
            return end + 1;
        };
        let (bound, step) = (self.number(bound), self.number(step));
        for (round, n) in (first..bound).step_by(step as usize).enumerate() {
            let with = format!("{n}u");
            let lines: Vec<String> = body
                .iter()
                // A comment once is enough.
                .filter(|line| round == 0 || !is_comment(line))
                .map(|line| renamed(line, name, &with))
                .collect();
            self.body(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        }
        end + 1
    }

    /// The lines of a block without its braces, unless it declares something.
    fn body(&mut self, lines: &[&str]) {
        if !declares(lines) {
            let lines: Vec<&str> =
                lines.iter().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
            return self.lines(&lines);
        }
        let indent = lines.iter().find(|line| !line.trim().is_empty()).map_or(0, |line| indent(line));
        let outer = " ".repeat(indent.saturating_sub(4));
        self.line(&format!("{outer}{{"));
        self.lines(lines);
        self.line(&format!("{outer}}}"));
    }

    /// The branch that is taken of an `if` chain; how many lines that was.
    fn branch(&mut self, rest: &[&str]) -> usize {
        let (mut at, mut taken) = (0, false);
        loop {
            let head = rest[at].trim().trim_start_matches("} ");
            let end = at + block(&rest[at..]);
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
            if !rest[end].trim_start().starts_with("} else") {
                return end + 1;
            }
            at = end;
        }
    }

    /// `var name: array<T, N>;` as N variables; one line.
    fn declare(&mut self, rest: &[&str], once: bool) -> usize {
        let parsed = rest[0].trim().strip_prefix("var ").and_then(|line| {
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
            let pad = " ".repeat(indent(rest[0]));
            for n in 0..self.number(count) {
                self.line(&format!("{pad}var {name}_{n} = {kind}();"));
            }
        }
        1
    }

    fn line(&mut self, line: &str) {
        let mut line = line.to_string();
        if !is_comment(&line) {
            if line.contains('[') && !self.registers.is_empty() {
                line = self.named(&line);
            }
            if let Some((name, value)) = constant(&line)
                && let Some(value) = self.constants.evaluate(value)
            {
                self.constants.set(name, value);
            }
        }
        // A sum of products is one expression: `a += b * c;` and `a += d * e;` become `a = a + b * c + d * e;`.
        if let Some((target, value)) = product(&line) {
            match self.sum.take() {
                Some((last, begin, end)) if last == target && end == self.out.len() => {
                    let first = self.out.split_off(begin).replace(" += ", &format!(" = {target} + "));
                    self.out.push_str(&first[..first.len() - 2]);
                    self.out.push_str(&format!(" + {value};\n"));
                    self.sum = Some((last, begin, self.out.len()));
                }
                _ => {
                    let begin = self.out.len();
                    self.out.push_str(&line);
                    self.out.push('\n');
                    self.sum = Some((target.to_string(), begin, self.out.len()));
                }
            }
            return;
        }
        self.out.push_str(&line);
        self.out.push('\n');
    }

    /// The line with elements of register arrays by their names.
    fn named(&self, line: &str) -> String {
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(open) = rest.find('[') {
            let (before, after) = rest.split_at(open);
            let begin = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
            let (before, name) = before.split_at(begin);
            out.push_str(before);
            let register = self.registers.iter().find(|r| r.name == name);
            let Some(Register { once, .. }) = register.filter(|_| !before.ends_with('.')) else {
                out.push_str(name);
                out.push('[');
                rest = &after[1..];
                continue;
            };
            let close = closing(after).unwrap_or_else(|| bad("registers", &[line]));
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

fn bad(marker: &str, rest: &[&str]) -> ! {
    let line = rest.first().copied().unwrap_or_default();
    let hint = match line.trim_end().ends_with(" {") || marker == "registers" {
        true => "",
        false => " (a line that opens a block ends in ` {`)",
    };
    panic!("{}`//# {marker}` before `{}`{hint}", place(line), line.trim())
}

/// Where the block ends that the first line opens: the number of the line with its closing brace.
fn block(lines: &[&str]) -> usize {
    let mut depth = 0;
    for (n, line) in lines.iter().enumerate().filter(|(_, line)| !is_comment(line)) {
        // `} else {` closes what the first line opened.
        for c in line.chars() {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if n > 0 && depth == 0 {
                        return n;
                    }
                }
                _ => {}
            }
        }
        if n == 0 {
            depth = 1;
        }
    }
    bad("unroll", lines)
}

/// Where the section ends that the lines begin: the number of its `//# end`.
fn section(lines: &[&str]) -> usize {
    let mut depth = 0;
    for (n, line) in lines.iter().enumerate() {
        let marker = line.trim_start();
        if marker.starts_with("//# for ") || marker.starts_with("//# when ") {
            depth += 1;
        } else if marker == "//# end" {
            if depth == 0 {
                return n;
            }
            depth -= 1;
        }
    }
    bad("for", lines)
}

/// Whether a block declares something at its own level, so that it needs braces. What is said of values that are set once counts
/// where they are declared.
fn declares(lines: &[&str]) -> bool {
    let own = lines.iter().filter(|line| !line.trim().is_empty()).map(|line| indent(line)).min().unwrap_or(0);
    lines.iter().any(|line| {
        let text = line.trim_start();
        indent(line) == own && (text.starts_with("let ") || text.starts_with("var "))
    })
}
