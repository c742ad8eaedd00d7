//! Rewriting of single lines of a shader.

use super::super::files;

/// `PATH:LINE: ` of the first line of a file that contains this text; empty where the expansion of loops has changed it, and in browsers,
/// for which not all files are downloaded.
pub(super) fn place(line: &str) -> String {
    if cfg!(target_arch = "wasm32") {
        return String::new();
    }
    let wanted = line.trim();
    let in_file = |(path, text): &(&str, &str)| {
        let at = text.lines().position(|l| !wanted.is_empty() && l.contains(wanted))?;
        Some(format!("shaders/{path}:{}: ", at + 1))
    };
    files::ALL.iter().find_map(in_file).unwrap_or_default()
}

/// For a line `sum += product;`, the variable and the product.
pub(super) fn product(line: &str) -> Option<(&str, &str)> {
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
    // A product that reads the sum must not be merged with others.
    let part = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let reads = value.split(part).any(|word| word == target);
    (plain && word && !reads && value.contains(" * ")).then_some((target, value))
}

pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// `const name = value;`
pub(super) fn constant(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("const ")?.strip_suffix(';')?.split_once(" = ")
}

/// Position of the bracket that closes the one the text begins with.
pub(super) fn closing(text: &str) -> Option<usize> {
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

/// The line with loop variables replaced by their values, and without terms that become zero.
pub(super) fn replaced(line: &str, bound: &[(String, String)]) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut out, mut rest, mut any) = (String::with_capacity(line.len()), line, false);
    while let Some(begin) = rest.find(part) {
        let end = rest[begin..].find(|c| !part(c)).map_or(rest.len(), |n| begin + n);
        let (before, word) = (&rest[..begin], &rest[begin..end]);
        out.push_str(before);
        let with = bound.iter().rev().find(|(name, _)| name == word && !before.ends_with('.'));
        out.push_str(with.map_or(word, |(_, with)| with));
        any |= with.is_some();
        rest = &rest[end..];
    }
    out.push_str(rest);
    if any { tidy(&out) } else { out }
}

/// Removes `+ 0u`, `0u * A` and `1u *`.
pub(super) fn tidy(line: &str) -> String {
    let mut line = line.to_string();
    if !line.contains("0u") && !line.contains("1u * ") {
        return line;
    }
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
            // Remove parentheses around a single name, except for arguments.
            let open = line[..at].rfind(|c| !name(c)).filter(|&open| line[open..].starts_with('('));
            if let Some(open) = open
                && line[at..].starts_with(')')
                && !line[..open].ends_with(|c| name(c) || c == '>')
            {
                line.remove(at);
                line.remove(open);
            }
        } else {
            from = at + 1;
        }
    }
    let sums = ["(0u + ", "[0u + ", "= 0u + ", ", 0u + "];
    let products = ["(1u * ", "[1u * ", "= 1u * ", ", 1u * ", "+ 1u * "];
    for term in sums.into_iter().chain(products) {
        if line.contains(term) {
            line = line.replace(term, &term[..term.len() - 5]);
        }
    }
    line
}

/// Renumbers a line written for item 0 of the list `from` for item `n` of the list `to`: `R0_SIZE` and `load_r0` become `R2_SIZE` and
/// `load_r2`.
pub(in super::super) fn numbered(line: &str, from: char, to: char, n: u32) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (from_upper, to_upper) = (from.to_ascii_uppercase(), to.to_ascii_uppercase());
    let (upper, lower) = (format!("{from_upper}0_"), format!("_{from}0"));
    if !line.contains(&upper) && !line.contains(&lower) {
        return line.to_string();
    }
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
