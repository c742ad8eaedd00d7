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

use super::constants::{Constants, Value};

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
            for n in 0..self.registers.len() {
                line = self.named(&line, n);
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

    /// The line with elements of a register array by their names.
    fn named(&self, line: &str, register: usize) -> String {
        let Register { name, once } = &self.registers[register];
        let mut out = String::new();
        let mut rest = line;
        while let Some(at) = word(rest, name) {
            let after = &rest[at + name.len()..];
            out.push_str(&rest[..at]);
            if !after.starts_with('[') {
                out.push_str(name);
                rest = after;
                continue;
            }
            let close = closing(after).unwrap_or_else(|| bad("registers", &[line]));
            let index = &after[1..close];
            let index = self.number_in(index, line);
            let set = *once && out.trim().is_empty() && after[close + 1..].starts_with(" = ");
            if set {
                out.push_str("let ");
            }
            out.push_str(&format!("{name}_{index}"));
            rest = &after[close + 1..];
        }
        out.push_str(rest);
        out
    }

    fn holds(&self, condition: &str) -> bool {
        match self.constants.evaluate(condition) {
            Some(Value::Flag(flag)) => flag,
            found => panic!("shader template: `{condition}` is no constant condition, but {found:?}"),
        }
    }

    fn number(&self, expression: &str) -> u32 {
        self.number_in(expression, expression)
    }

    fn number_in(&self, expression: &str, line: &str) -> u32 {
        match self.constants.evaluate(expression) {
            Some(Value::Number(n)) => n,
            found => panic!("shader template: `{expression}` is no constant number, but {found:?}: {line}"),
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

/// The variable that a line adds a product to, and the product.
fn product(line: &str) -> Option<(&str, &str)> {
    let (target, value) = line.trim().strip_suffix(';')?.split_once(" += ")?;
    let mut depth = 0;
    let plain = value.char_indices().all(|(at, c)| {
        depth += match c {
            '(' | '[' => 1,
            ')' | ']' => -1,
            _ => 0,
        };
        depth > 0 || !"+-&|<>=".contains(c) || value[at..].starts_with("<f32>")
    });
    let word = target.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && word && value.contains(" * ")).then_some((target, value))
}

fn bad(marker: &str, rest: &[&str]) -> ! {
    panic!("shader template: `//# {marker}` before {:?}", rest.first())
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") && !line.starts_with("//#")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// `const name = value;`
fn constant(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("const ")?.strip_suffix(';')?.split_once(" = ")
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

/// Where `name` stands as a whole word.
fn word(line: &str, name: &str) -> Option<usize> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(name).map(|(at, _)| at).find(|&at| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(|c| part(c) || c == '.') && !after.is_some_and(part)
    })
}

/// Where the bracket closes that the text begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The line with a name replaced, and without terms that this makes zero.
fn renamed(line: &str, name: &str, with: &str) -> String {
    if is_comment(line) {
        return line.to_string();
    }
    let (mut out, mut rest, mut any) = (String::with_capacity(line.len()), line, false);
    while let Some(at) = word(rest, name) {
        out.push_str(&rest[..at]);
        out.push_str(with);
        rest = &rest[at + name.len()..];
        any = true;
    }
    out.push_str(rest);
    if any { tidy(&out) } else { out }
}

/// Without `+ 0u`, `0u * A` and `1u *`, which a reader would stop at.
fn tidy(line: &str) -> String {
    let mut line = line.to_string();
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut from = 0;
    while let Some(found) = line[from..].find("0u * ") {
        let at = from + found;
        let end = at + 5 + line[at + 5..].chars().take_while(|&c| name(c)).count();
        let whole = !line[..at].ends_with(|c| name(c) || c == '.')
            && ![" * ", " / ", " % "].iter().any(|operator| line[..at].ends_with(operator))
            && end > at + 5
            && !line[end..].starts_with(['.', '[', '('])
            && ![" / ", " % "].iter().any(|operator| line[end..].starts_with(operator));
        if whole {
            line.replace_range(at + 2..end, "");
        }
        from = at + 1;
    }
    let mut from = 0;
    while let Some(found) = line[from..].find(" + 0u") {
        let at = from + found;
        let after = &line[at + 5..];
        if !after.starts_with(name)
            && ![" * ", " / ", " % "].iter().any(|operator| after.starts_with(operator))
        {
            line.replace_range(at..at + 5, "");
            // `(x)` is `x`, where it is no argument.
            let open = line[..at].rfind(|c| !name(c)).filter(|&open| line[open..].starts_with('('));
            if let Some(open) = open
                && line[at..].starts_with(')')
                && !line[..open].ends_with(name)
            {
                line.remove(at);
                line.remove(open);
            }
        } else {
            from = at + 1;
        }
    }
    for open in ["(", "[", "= ", ", "] {
        let (zero, once) = (format!("{open}0u + "), format!("{open}1u * "));
        line = line.replace(&zero, open).replace(&once, open);
    }
    line.replace(" + 1u * ", " + ")
}

/// The line that is written for item 0 of the list `from`, for the n-th of the list `to`: `R0_SIZE` and `load_r0` become `R2_SIZE`
/// and `load_r2`.
pub(super) fn numbered(line: &str, from: char, to: char, n: u32) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (from_upper, to_upper) = (from.to_ascii_uppercase(), to.to_ascii_uppercase());
    let (upper, lower) = (format!("{from_upper}0_"), format!("_{from}0"));
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        if rest.starts_with(&upper) && !line[..at].chars().next_back().is_some_and(part) {
            out.push_str(&format!("{to_upper}{n}_"));
            at += upper.len();
        } else if rest.starts_with(&lower) && !rest[lower.len()..].starts_with(part) {
            out.push_str(&format!("_{to}{n}"));
            at += lower.len();
        } else {
            let c = rest.chars().next().expect("not at the end");
            out.push(c);
            at += c.len_utf8();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut constants = Constants::default();
        for (name, value) in [("ONE", 1u32), ("TWO", 2), ("NONE", 0)] {
            constants.set(name, value.into());
        }
        constants.set("ODD", vec![false, true].into());
        assert_eq!(expand(text, &constants), expected);
    }

    #[test]
    fn loops_are_written_out() {
        check(
            "//# unroll\nfor (var i = 0u; i < TWO; i++) {\n    f(i, n + i * W, ii);\n}\n",
            "f(0u, n, ii);\nf(1u, n + W, ii);\n",
        );
        // What declares keeps braces; a comment is said once.
        check(
            "//# unroll\nfor (var i = 0u; i < 4u; i += TWO) {\n    // Of i.\n    let x = i;\n}\n",
            "{\n    // Of i.\n    let x = 0u;\n}\n{\n    let x = 2u;\n}\n",
        );
        let kept = "for (var i = first; i < ONE; i++) {\n    f(i);\n}\n";
        check(&format!("//# unroll if TWO == 1u\n{kept}"), kept);
        check(&format!("//# unroll if ONE == 1u\n{kept}"), "f(first);\n");
        check("//# unroll\nfor (var i = 0u; i < NONE; i++) {\n    f(i);\n}\n", "");
    }

    #[test]
    fn branches_on_constants_are_taken() {
        let chain =
            "//# if\nif ONE == 2u {\n    a();\n} else if ODD[ONE] {\n    b();\n} else {\n    c();\n}\nd();\n";
        check(chain, "b();\nd();\n");
        check(&chain.replace("ODD[ONE]", "ODD[0u]"), "c();\nd();\n");
        check("//# if\nif ODD[0u] {\n    a();\n}\n", "");
        let test = "if x < 2u {\n    a();\n}\n";
        check(&format!("//# unless ONE == 1u\n{test}"), "a();\n");
        check(&format!("//# unless ONE == 2u\n{test}"), test);
        check("//# when ODD[0u]\na();\n//# end\nb();\n", "b();\n");
    }

    #[test]
    fn arrays_become_variables() {
        check(
            "//# registers\nvar a: array<vec4<f32>, TWO * ONE>;\na[ONE] = a[TWO - 2u] + ba[1u];\n",
            "var a_0 = vec4<f32>();\nvar a_1 = vec4<f32>();\na_1 = a_0 + ba[1u];\n",
        );
        check(
            "//# values\nvar a: array<f32, TWO>;\n{\n    a[1u] = 2.0;\n}\nf(a[1u]);\n",
            "{\n    let a_1 = 2.0;\n}\nf(a_1);\n",
        );
        check(
            "//# registers\nvar c: array<coop_mat16x16<f32, C>, ONE>;\n",
            "var c_0 = coop_mat16x16<f32, C>();\n",
        );
        // Sums of products are one expression; others are left.
        check("s += a * b;\ns += c[1] * d;\ns += e;\n", "s = s + a * b + c[1] * d;\ns += e;\n");
        check("s += a * b;\nt += c * d;\ns += a - b;\n", "s += a * b;\nt += c * d;\ns += a - b;\n");
    }

    #[test]
    fn lists_are_numbered() {
        check(
            "//# for r in TWO\nf_r0(R0_A, PR0_A, _r00);\n//# end\n",
            "f_r0(R0_A, PR0_A, _r00);\nf_r1(R1_A, PR0_A, _r00);\n",
        );
        check("//# for r in NONE\nf_r0();\n//# end\ng();\n", "g();\n");
        check(
            "const THREE = ONE + TWO;\n//# when THREE == 3u\nf();\n//# end\n",
            "const THREE = ONE + TWO;\nf();\n",
        );
    }

    #[test]
    fn sums_of_nothing_are_left_out() {
        for (from, to) in [
            ("a[i + 0u]", "a[i]"),
            ("f(0u * W + x)", "f(x)"),
            ("(x + 0u) * W", "x * W"),
            ("f(x + 0u)", "f(x)"),
            ("x + 0u * W", "x"),
            ("x + 1u * W", "x + W"),
            ("x + 0u * W[y]", "x + 0u * W[y]"),
            ("x + 0u / W", "x + 0u / W"),
            ("10u * W", "10u * W"),
        ] {
            assert_eq!(tidy(from), to, "{from}");
        }
    }

    #[test]
    #[should_panic(expected = "`unknown` is no constant number")]
    fn what_is_no_constant_is_said() {
        check("//# unroll\nfor (var i = 0u; i < unknown; i++) {\n    f(i);\n}\n", "");
    }
}
