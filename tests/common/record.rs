//! What a kernel does, read from naga's representation of its shaders: which buffers it loads and stores, what it computes in
//! floats, where invocations meet, in which order; not how its text puts it.
//!
//! The entry point is taken with every function written out where it is called. An [`Item`] is an event or a branch or loop that
//! holds events. No events are integers and booleans, casts, splats, selects, swizzles, and local variables; nor is anything whose
//! result nothing depends on, which a compiler drops. Branches on constants are replaced by what is taken, also where the constant
//! is an argument or a local variable; where one side returns, the rest of the function is the other side.
//!
//! Needs `rmnet::kernel`, naga and `common::in_parallel` alone.
#![allow(dead_code, reason = "each test binary uses its part")]

use super::common::in_parallel;
use naga::valid::{FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{
    AddressSpace, BinaryOperator, Block, Expression, Function, Handle, Literal, Module, ScalarKind,
    Statement, TypeInner, UnaryOperator,
};
use rmnet::kernel::{
    self, Capabilities, Choice, ConvParameters, ConvSpec, FamilyId, KRange, Kernel, Role, Shader, Spec,
    candidates_in,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// A kind of adapter that kernels are made for.
#[derive(Clone)]
pub struct Class {
    /// By which the record names it.
    pub letter: char,
    /// In words.
    pub name: &'static str,
    pub caps: Capabilities,
    /// Whether buffers are ranges of one.
    pub shares: bool,
}

/// Every kind.
pub fn classes() -> Vec<Class> {
    let gpu = Capabilities::WEBGPU;
    let card = gpu.clone().with(|c| c.class = kernel::Class::Discrete);
    let matrices = card.clone().with(|c| {
        c.features.subgroup_size = Some(32);
        c.features.matrix_units = true;
        c.limits.max_workgroup_memory = 48 << 10;
    });
    let software = gpu.clone().with(|c| c.class = kernel::Class::Software);
    let lanes = |n: u32| software.clone().with(|c| c.features.subgroup_size = Some(n));
    let wide = |n: u32| lanes(n).with(|c| c.features.int64 = true);
    let class =
        |letter, name, caps: &Capabilities, shares| Class { letter, name, caps: caps.clone(), shares };
    vec![
        class('g', "integrated GPU", &gpu, false),
        class(
            'h',
            "integrated GPU, subgroups of 32",
            &gpu.clone().with(|c| c.features.subgroup_size = Some(32)),
            false,
        ),
        class('c', "card", &card, false),
        class('m', "card with matrix units", &matrices, false),
        class('s', "software", &software, false),
        class('4', "software, subgroups of 4", &lanes(4), false),
        class('8', "software, subgroups of 8", &lanes(8), false),
        class('q', "software, subgroups of 4, 64-bit integers", &wide(4), false),
        class('o', "software, subgroups of 8, 64-bit integers", &wide(8), false),
        class('Q', "q, and buffers that are ranges of one", &wide(4), true),
        class('O', "o, and buffers that are ranges of one", &wide(8), true),
    ]
}

/// What stands in a shader, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// One event.
    Event(String),
    /// Both sides; the first is not empty.
    If(Vec<Item>, Vec<Item>),
    /// `< 9` where the loop ends at a constant, and what is in it.
    Loop(String, Vec<Item>),
}

/// What a shader does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// In order.
    pub items: Vec<Item>,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Invocations of a workgroup.
    pub workgroup: [u32; 3],
}

/// The names of what [`Row::values`] are.
pub const COLUMNS: [&str; 22] = [
    "loads",
    "stores",
    "shared",
    "mul",
    "add",
    "div",
    "fma",
    "math",
    "subgroup",
    "barriers",
    "matrices",
    "ifs",
    "loops",
    "memory",
    "workgroup",
    "grid",
    "bindings",
    "entry",
    "arithmetic",
    "order",
    "scratch",
    "weights",
];

impl Events {
    /// Reads a shader.
    ///
    /// # Panics
    /// Where it is not valid.
    pub fn of(shader: &Shader) -> Events {
        let wgsl = &shader.wgsl();
        let module = naga::front::wgsl::parse_str(wgsl)
            .unwrap_or_else(|e| panic!("{}\n{wgsl}", e.emit_to_string(wgsl)));
        let mut validator = Validator::new(ValidationFlags::all(), naga::valid::Capabilities::all());
        validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
        validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
        let info =
            validator.validate(&module).unwrap_or_else(|e| panic!("{}\n{wgsl}", e.emit_to_string(wgsl)));
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("types have sizes");
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
        let workgroup_memory = shared.map(|(_, v)| layouter[v.ty].size).sum();
        let entry = module.entry_points.iter().position(|e| e.name == shader.entry).expect("the entry point");
        let mut reader = Reader::new(&module, &info, shader);
        let (function, function_info) = (&module.entry_points[entry].function, info.get_entry_point(entry));
        let mut frame = reader.frame(function, function_info, vec![]);
        let body: Vec<&Statement> = function.body.iter().collect();
        let found = reader.block(&mut frame, &body, true);
        let items = reader.live(found);
        Events { items, workgroup_memory, workgroup: module.entry_points[entry].workgroup_size }
    }

    /// One line for each event, with braces where the control flow has them.
    pub fn lines(&self) -> Vec<String> {
        fn print(items: &[Item], depth: usize, lines: &mut Vec<String>) {
            let line = |text: &str, lines: &mut Vec<String>| lines.push("    ".repeat(depth) + text);
            for item in items {
                match item {
                    Item::Event(event) => line(event, lines),
                    Item::If(accept, reject) => {
                        line("if {", lines);
                        print(accept, depth + 1, lines);
                        if !reject.is_empty() {
                            line("} else {", lines);
                            print(reject, depth + 1, lines);
                        }
                        line("}", lines);
                    }
                    Item::Loop(bound, body) => {
                        line(format!("loop {bound} {{").as_str(), lines);
                        print(body, depth + 1, lines);
                        line("}", lines);
                    }
                }
            }
        }
        let mut lines = vec![];
        print(&self.items, 0, &mut lines);
        lines
    }

    /// The values of [`COLUMNS`].
    pub fn columns(&self, shader: &Shader) -> Vec<String> {
        let lines = self.lines();
        let lines: Vec<&str> = lines.iter().map(|l| l.trim()).collect();
        let structure =
            |l: &str| l.starts_with("if {") || l.starts_with("loop ") || l.starts_with('}') || l == "return";
        let mut counts: BTreeMap<usize, BTreeMap<&str, usize>> = BTreeMap::new();
        for line in lines.iter().filter(|l| !l.starts_with('}')) {
            // Without the width of vectors.
            let event = line.split(" x").next().unwrap_or(line);
            let (kind, what) = event.split_once(' ').unwrap_or((event, event));
            let (column, what) = match kind {
                "load" | "store" if what == "shared" => (2, kind),
                "load" => (0, what),
                "store" => (1, what),
                "mul" => (3, ""),
                "add" | "sub" => (4, ""),
                "div" => (5, ""),
                "fma" => (6, ""),
                "subgroup" => (8, what),
                "barrier" => (9, ""),
                "matrix" => (10, what),
                "if" => (11, ""),
                "loop" => (12, ""),
                "return" => (11, "return"),
                _ => (7, kind),
            };
            *counts.entry(column).or_default().entry(what).or_default() += 1;
        }
        let count = |column: usize| {
            let of = counts.get(&column).into_iter().flatten();
            of.map(|(what, n)| format!("{}{n}", short(what))).collect::<Vec<_>>().join(" ")
        };
        let three = |[x, y, z]: [u32; 3]| match (y, z) {
            (1, 1) => x.to_string(),
            (_, 1) => format!("{x}x{y}"),
            _ => format!("{x}x{y}x{z}"),
        };
        let mut values: Vec<String> = (0..13).map(count).collect();
        let bindings = shader.bindings.iter().map(|b| {
            let from =
                if let Role::Weights(from @ 1..) = b.role { format!("@{from}") } else { String::new() };
            format!(
                "{}{from}{}",
                short(&role(b.role)).trim_end_matches(':'),
                if b.writable { "!" } else { "" }
            )
        });
        values.extend([
            some(self.workgroup_memory as usize),
            three(self.workgroup),
            three(shader.grid),
            bindings.collect::<Vec<_>>().join(" "),
            shader.entry.into(),
            hash(lines.iter().copied().filter(|l| !structure(l))),
            hash(lines.iter().copied()),
        ]);
        values
    }
}

/// What is counted, as the columns name it.
fn short(what: &str) -> String {
    let name = match what {
        "" => return String::new(),
        "weights" => "w",
        "arena" => "a",
        "scratch" => "s",
        "pack2x16float" => "pack",
        "unpack2x16float" => "unpack",
        "load" => "l",
        "store" => "s",
        "shuffle" => return String::new(),
        other => other,
    };
    let name = name.replace("in", if name.starts_with("in") { "i" } else { "in" });
    let name = name.replace("out", if name.starts_with("out") { "o" } else { "out" });
    format!("{name}:")
}

/// What a binding is for, as events name it.
fn role(role: Role) -> String {
    match role {
        Role::Read(n) => format!("in{n}"),
        Role::Write(n) => format!("out{n}"),
        Role::Weights(_) => "weights".into(),
        Role::Arena => "arena".into(),
        Role::Scratch => "scratch".into(),
    }
}

/// 32 bits of FNV-1a, which is the same everywhere.
fn hash<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    format!("{:08x}", folded(fnv(lines.flat_map(|l| l.bytes().chain([b'\n'])))))
}

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

fn folded(hash: u64) -> u32 {
    (hash >> 32) as u32 ^ hash as u32
}

/// One shader of a kernel for a case, on a kind of adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where its case stands in the table.
    pub case: usize,
    /// Name of the kernel.
    pub kernel: String,
    /// Which of the kernel's shaders.
    pub shader: usize,
    /// Which of [`classes`].
    pub class: usize,
    /// Of [`COLUMNS`].
    pub values: Vec<String>,
}

/// What kernels do for every so many-th case on every kind of adapter, in order. `all`: every candidate; else those that are chosen for some
/// kind, and of each family of the others one, in turn; and subgroups of 4 for every third case, and for networks.
///
/// # Panics
/// Where a kernel is over a limit or a shader is not valid.
pub fn rows(
    cases: &[(String, Spec)],
    every: usize,
    all: bool,
    see: &(dyn Fn(&Row, &Events) + Sync),
) -> Vec<Row> {
    let recorder =
        Recorder { letters: classes().iter().map(|c| c.letter).collect(), all, seen: Mutex::default(), see };
    let some: Vec<_> = cases.iter().enumerate().step_by(every).collect();
    let found = in_parallel(&some, |(case, (name, spec))| recorder.rows(*case, name, spec));
    let mut rows: Vec<Row> = found.into_iter().flatten().collect();
    rows.sort_by_cached_key(|r| (r.case, r.kernel.clone(), r.shader, r.class));
    rows
}

/// What goes on in a shader, and that as columns.
type Read = Arc<(Events, Vec<String>)>;

struct Recorder<'a> {
    letters: Vec<char>,
    all: bool,
    /// By a hash of a shader: adapters of different kinds share many.
    seen: Mutex<HashMap<u64, Read>>,
    see: &'a (dyn Fn(&Row, &Events) + Sync),
}

/// The kernels of a case that are recorded, each with the kind of adapter it is for: see [`rows`].
///
/// # Panics
/// Where a kernel is over a limit.
pub fn recorded(case: usize, name: &str, spec: &Spec, all: bool) -> Vec<(Class, Kernel)> {
    let arena = super::arena::arena(spec);
    let candidates: Vec<(Class, Vec<Kernel>)> = classes()
        .into_iter()
        .map(|class| {
            let arena = class.shares.then_some(&arena);
            let kernels = candidates_in(spec, &class.caps, arena);
            let kernels = kernels.unwrap_or_else(|e| panic!("{name}, {}: {e}", class.name));
            (class, kernels)
        })
        .collect();
    let mut families: BTreeMap<FamilyId, BTreeSet<Choice>> = BTreeMap::new();
    for kernel in candidates.iter().flat_map(|(_, kernels)| kernels) {
        families.entry(kernel.choice.family).or_default().insert(kernel.choice);
    }
    let turns = families.values().filter_map(|f| f.iter().nth(case % f.len()).copied());
    let chosen = candidates.iter().map(|(_, kernels)| kernels[0].choice);
    let kept: HashSet<Choice> = turns.chain(chosen).collect();
    let few = !case.is_multiple_of(3) && !name.contains("net");
    let candidates = candidates
        .into_iter()
        .flat_map(|(class, kernels)| kernels.into_iter().map(move |kernel| (class.clone(), kernel)));
    let recorded = |(class, kernel): &(Class, Kernel)| {
        all || kept.contains(&kernel.choice) && !(few && class.caps.features.subgroup_size == Some(4))
    };
    candidates.filter(recorded).collect()
}

impl Recorder<'_> {
    fn rows(&self, case: usize, name: &str, spec: &Spec) -> Vec<Row> {
        let mut weights: HashMap<String, String> = HashMap::new();
        let mut rows = vec![];
        for (class, kernel) in recorded(case, name, spec, self.all) {
            // What it packs, to pack once for many classes.
            let mut packing = kernel.clone();
            packing.shaders.clear();
            let weights = weights.entry(format!("{packing:?}")).or_insert_with(|| match spec {
                Spec::Conv(conv) => packed(&kernel, conv),
                _ => String::new(),
            });
            for (s, shader) in kernel.shaders.iter().enumerate() {
                let known = self.read(shader);
                let mut values = known.1.clone();
                values.extend([some(kernel.scratch as usize), weights.clone()]);
                let class = self.letters.iter().position(|l| *l == class.letter).expect("one of them");
                let row = Row { case, kernel: kernel.choice.to_string(), shader: s, class, values };
                (self.see)(&row, &known.0);
                rows.push(row);
            }
        }
        rows
    }

    fn read(&self, shader: &Shader) -> Read {
        let text = format!("{:?} {:?} {} {}", shader.grid, shader.bindings, shader.entry, shader.wgsl());
        let key = fnv(text.bytes());
        let seen = || self.seen.lock().expect("no thread panicked");
        let known = seen().get(&key).cloned();
        known.unwrap_or_else(|| {
            let events = Events::of(shader);
            let columns = events.columns(shader);
            let found = Arc::new((events, columns));
            seen().insert(key, found.clone());
            found
        })
    }
}

/// A number, and nothing for none.
fn some(n: usize) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}

/// The packed weights of a convolution whose values are a fixed noise: how many bytes, and a hash of them.
fn packed(kernel: &Kernel, spec: &ConvSpec) -> String {
    let mut state = 7u32;
    let mut values = |n: usize| -> Vec<f32> {
        let mut value = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..n).map(|_| value()).collect()
    };
    let len = |r: &KRange| spec.out_channels * (r.from.channels / r.groups) * r.kernel[0] * r.kernel[1];
    let mut weights: Vec<Vec<f32>> = spec.k_ranges.iter().map(|r| values(len(r))).collect();
    weights.iter_mut().for_each(|w| spec.precision().store(w));
    let bias = values(spec.out_channels);
    let mut map = |r: &KRange| r.prologue.map(|_| (values(r.from.channels), values(r.from.channels)));
    let prologues: Vec<_> = spec.k_ranges.iter().map(&mut map).collect();
    let slopes = if spec.has_slopes() { values(spec.out_channels) } else { vec![] };
    let k_ranges: Vec<&[f32]> = weights.iter().map(|w| &w[..]).collect();
    let words = kernel.pack(
        spec,
        &ConvParameters { k_ranges: &k_ranges, bias: &bias, slopes: &slopes, prologues: &prologues },
    );
    let mix = |hash: u64, word: &u32| (hash ^ u64::from(*word)).wrapping_mul(PRIME);
    format!("{} {:08x}", 4 * words.len(), folded(words.iter().fold(BASIS, mix)))
}

/// The head of a record.
const HEAD: &str = "\
# What kernels do: written by tests/kernel_record.rs, read from what naga makes of their shaders.
#
# A line `= CASE` is followed by the shaders of kernels for it, tab-separated. Empty is none. Equal programs in other words have
# equal lines: functions are written out where they are called, branches on constants are gone, and so is what nothing needs.
#   kernel     its name; not every candidate is here: see `rows` in tests/common/record.rs
#   shader     which of the kernel's
#   adapters   the kinds of adapters that have the same, a letter each
#   loads      of storage buffers, where they stand in the text (not how often they run): i0, i1 ... read; o0 ... written;
#              w weights, a the one buffer that all are ranges of, s what shaders hand on
#   stores     of storage buffers
#   shared     loads (l) and stores (s) of workgroup memory
#   mul, add, div, fma   of floats, a vector's as one; add is + and -
#   math       other functions of floats
#   subgroup   shuffles
#   barriers
#   matrices   operations on matrix units
#   ifs, loops that hold any of these
#   memory     bytes of workgroup memory
#   workgroup  invocations
#   grid       workgroups
#   bindings   in order; `!` is written to
#   entry      name of the entry point
#   arithmetic hash of all events in their order, without ifs and loops
#   order      hash of all events in their order, with ifs and loops and where these end
#   scratch    bytes of what shaders hand on
#   weights    bytes and hash of a fixed noise as the kernel packs it
#
# Adapters:
";

/// The record of some rows: what differs in nothing but the kind of adapter is one line.
pub fn print(cases: &[(String, Spec)], rows: &[Row]) -> String {
    let mut text = HEAD.to_string();
    let letters: Vec<(char, &str)> = classes().iter().map(|c| (c.letter, c.name)).collect();
    for (letter, name) in &letters {
        text += &format!("#   {letter}  {name}\n");
    }
    text += &format!("kernel\tshader\tadapters\t{}\n", COLUMNS.join("\t"));
    let mut last = None;
    for of_shader in rows.chunk_by(|a, b| (a.case, &a.kernel, a.shader) == (b.case, &b.kernel, b.shader)) {
        let first = &of_shader[0];
        if last.replace(first.case) != Some(first.case) {
            text += &format!("= {}\n", cases[first.case].0);
        }
        let mut different: Vec<(&[String], String)> = vec![];
        for row in of_shader {
            let letter = letters[row.class].0;
            match different.iter_mut().find(|(values, _)| *values == row.values) {
                Some((_, adapters)) => adapters.push(letter),
                None => different.push((&row.values, letter.into())),
            }
        }
        for (values, adapters) in different {
            text += &format!("{}\t{}\t{adapters}\t{}\n", first.kernel, first.shader, values.join("\t"));
        }
    }
    text
}

/// What a record says of some cases.
pub fn only(record: &str, cases: &HashSet<&str>) -> String {
    let mut kept = true;
    let own = |line: &&str| {
        if let Some(name) = line.strip_prefix("= ") {
            kept = cases.contains(name);
        }
        kept
    };
    record.lines().filter(own).flat_map(|line| [line, "\n"]).collect()
}

/// Of each case, kernel, shader and kind of adapter, the values.
fn parsed(record: &str) -> BTreeMap<(&str, &str, &str, char), &str> {
    let mut case = "";
    let mut rows = BTreeMap::new();
    for line in record.lines().filter(|l| !l.starts_with('#') && !l.starts_with("kernel\t")) {
        if let Some(name) = line.strip_prefix("= ") {
            case = name;
            continue;
        }
        let mut fields = line.splitn(4, '\t');
        let mut next = || fields.next().unwrap_or("");
        let (kernel, shader, adapters, values) = (next(), next(), next(), next());
        rows.extend(adapters.chars().map(|letter| ((case, kernel, shader, letter), values)));
    }
    rows
}

/// How two records differ, in at most that many lines; none where they do not.
pub fn differences(before: &str, after: &str, most: usize) -> Option<String> {
    let (before, after) = (parsed(before), parsed(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    // Kinds of adapters with the same difference are one.
    let mut differ: BTreeMap<([&str; 3], [Option<&str>; 2]), String> = BTreeMap::new();
    for key @ (case, kernel, shader, letter) in keys.iter().copied() {
        let (old, new) = (before.get(key).copied(), after.get(key).copied());
        if old != new {
            differ.entry(([case, kernel, shader], [old, new])).or_default().push(*letter);
        }
    }
    if differ.is_empty() {
        return None;
    }
    let (mut kinds, mut lines): (BTreeMap<String, usize>, Vec<String>) = Default::default();
    for (([case, kernel, shader], [old, new]), adapters) in &differ {
        let what = match (*old, *new) {
            (None, _) => "new".to_string(),
            (_, None) => "gone".to_string(),
            (Some(old), Some(new)) => {
                let pairs = COLUMNS.iter().zip(old.split('\t').zip(new.split('\t')));
                let changed: Vec<_> = pairs.filter(|(_, (old, new))| old != new).collect();
                let told: Vec<_> =
                    changed.iter().map(|(c, (old, new))| format!("{c} {old:?} -> {new:?}")).collect();
                lines.push(format!("{case} [{kernel}] shader {shader} on {adapters}: {}", told.join(", ")));
                let of = |name: &str| changed.iter().any(|(column, _)| **column == name);
                let kind = match () {
                    () if of("weights") => "other packed weights",
                    () if of("arithmetic") => "other events",
                    () if of("order") => "other branches or loops",
                    () => "another grid, size or name",
                };
                *kinds.entry(kind.into()).or_default() += 1;
                continue;
            }
        };
        lines.push(format!("{case} [{kernel}] shader {shader} on {adapters}: {what}"));
        *kinds.entry(what).or_default() += 1;
    }
    let counts: Vec<_> = kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    let shown = lines.len().min(most);
    let report = format!("{} shaders differ ({}); {shown} of them:\n", lines.len(), counts.join(", "));
    Some(report + &lines[..shown].join("\n"))
}

/// Writes the record of every candidate to a folder, and to `events/CASE.txt` there what each shader does line by line.
///
/// # Panics
/// Where the folder cannot be written to.
pub fn dump(cases: &[(String, Spec)], folder: &std::path::Path) {
    let events = folder.join("events");
    std::fs::create_dir_all(&events).expect("a folder");
    type Texts = BTreeMap<(String, usize, String), String>;
    let texts: Mutex<BTreeMap<usize, Texts>> = Mutex::default();
    let letters: Vec<char> = classes().iter().map(|c| c.letter).collect();
    let rows = rows(cases, 1, true, &|row, events| {
        let key = (row.kernel.clone(), row.shader, events.lines().join("\n"));
        let mut texts = texts.lock().expect("no thread panicked");
        texts.entry(row.case).or_default().entry(key).or_default().push(letters[row.class]);
    });
    std::fs::write(folder.join("kernels.tsv"), print(cases, &rows)).expect("the record is written");
    for (case, texts) in texts.into_inner().expect("no thread panicked") {
        let name: String =
            cases[case].0.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut text = String::new();
        for ((kernel, shader, lines), adapters) in texts {
            text += &format!("== {kernel}, shader {shader}, on {adapters}\n{lines}\n");
        }
        std::fs::write(events.join(format!("{name}.txt")), text).expect("events are written");
    }
}

/// A constant that branches may depend on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Const {
    Bool(bool),
    Int(i64),
}

/// A value, or a variable, of the shader with its functions written out: an index into [`Reader::needs`].
type Node = usize;

/// What a pointer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Root {
    Global(usize),
    Local(usize, usize),
}

/// An item that may yet turn out to have no effect.
enum Found {
    /// Gone where nothing needs the node.
    Event(String, Node),
    If(Vec<Found>, Vec<Found>),
    Loop(String, Vec<Found>),
}

/// One call of a function.
struct Frame<'a> {
    number: usize,
    function: &'a Function,
    info: &'a FunctionInfo,
    arguments: Vec<(Node, Option<Const>, Option<Root>)>,
    /// Of each expression, once it is computed.
    nodes: Vec<Option<Node>>,
    constants: Vec<Option<Const>>,
    returned: Vec<Node>,
    /// Conditions around the call.
    outside: usize,
}

struct Reader<'a> {
    module: &'a Module,
    info: &'a ModuleInfo,
    /// Of each global variable, its role.
    globals: HashMap<usize, String>,
    /// What each node is computed from.
    needs: Vec<Vec<Node>>,
    /// What has an effect.
    roots: Vec<Node>,
    /// A node for each local variable.
    variables: HashMap<Root, Node>,
    /// Local variables that are known here.
    known: HashMap<Root, Const>,
    /// Conditions of the branches around.
    conditions: Vec<Node>,
    frames: usize,
    /// Where the innermost loop ends.
    bounds: Vec<Option<String>>,
}

impl<'a> Reader<'a> {
    fn new(module: &'a Module, info: &'a ModuleInfo, shader: &Shader) -> Reader<'a> {
        let mut globals = HashMap::new();
        for (handle, variable) in module.global_variables.iter() {
            let name = match variable.space {
                AddressSpace::Storage { .. } => {
                    let binding = variable.binding.expect("a storage buffer is bound").binding;
                    role(shader.bindings[binding as usize].role)
                }
                AddressSpace::WorkGroup => "shared".into(),
                _ => continue,
            };
            globals.insert(handle.index(), name);
        }
        Reader {
            module,
            info,
            globals,
            needs: vec![],
            roots: vec![],
            variables: HashMap::new(),
            known: HashMap::new(),
            conditions: vec![],
            frames: 0,
            bounds: vec![],
        }
    }

    fn frame(
        &mut self,
        function: &'a Function,
        info: &'a FunctionInfo,
        arguments: Vec<(Node, Option<Const>, Option<Root>)>,
    ) -> Frame<'a> {
        self.frames += 1;
        let mut frame = Frame {
            number: self.frames,
            function,
            info,
            arguments,
            nodes: vec![None; function.expressions.len()],
            constants: vec![None; function.expressions.len()],
            returned: vec![],
            outside: self.conditions.len(),
        };
        for (handle, variable) in function.local_variables.iter() {
            if let Some(init) = variable.init {
                let node = self.node(&mut frame, init);
                let root = Root::Local(frame.number, handle.index());
                let of_variable = self.variable(root);
                self.needs[of_variable].push(node);
                if let Some(value) = frame.constants[init.index()] {
                    self.known.insert(root, value);
                }
            }
        }
        frame
    }

    fn new_node(&mut self, needs: Vec<Node>) -> Node {
        self.needs.push(needs);
        self.needs.len() - 1
    }

    fn variable(&mut self, root: Root) -> Node {
        if let Some(&node) = self.variables.get(&root) {
            return node;
        }
        let node = self.new_node(vec![]);
        self.variables.insert(root, node);
        node
    }

    /// An event that stays whatever becomes of its results.
    fn effect(&mut self, items: &mut Vec<Found>, label: impl Into<String>, mut needs: Vec<Node>) -> Node {
        needs.extend(&self.conditions);
        let node = self.new_node(needs);
        self.roots.push(node);
        items.push(Found::Event(label.into(), node));
        node
    }

    /// The node of an expression; one that no statement emits comes into being here.
    fn node(&mut self, frame: &mut Frame<'a>, expression: Handle<Expression>) -> Node {
        match frame.nodes[expression.index()] {
            Some(node) => node,
            None => self.emit(frame, expression, &mut vec![]),
        }
    }

    fn constant(&mut self, frame: &mut Frame<'a>, expression: Handle<Expression>) -> Option<Const> {
        self.node(frame, expression);
        frame.constants[expression.index()]
    }

    fn root(&self, frame: &Frame<'a>, pointer: Handle<Expression>) -> Option<Root> {
        match frame.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.root(frame, base),
            Expression::GlobalVariable(v) => Some(Root::Global(v.index())),
            Expression::LocalVariable(v) => Some(Root::Local(frame.number, v.index())),
            Expression::FunctionArgument(n) => frame.arguments.get(n as usize)?.2,
            _ => None,
        }
    }

    /// The float type of an expression: elements of a vector.
    fn float(&self, frame: &Frame<'a>, expression: Handle<Expression>) -> Option<u32> {
        let scalar_and_size = match *frame.info[expression].ty.inner_with(&self.module.types) {
            TypeInner::Scalar(scalar) => (scalar, 1),
            TypeInner::Vector { size, scalar } => (scalar, size as u32),
            TypeInner::Matrix { columns, rows, scalar } => (scalar, columns as u32 * rows as u32),
            TypeInner::CooperativeMatrix { scalar, .. } => (scalar, 0),
            _ => return None,
        };
        (scalar_and_size.0.kind == ScalarKind::Float).then_some(scalar_and_size.1)
    }

    /// Computes an expression: what it needs, its constant, its event.
    fn emit(&mut self, frame: &mut Frame<'a>, handle: Handle<Expression>, items: &mut Vec<Found>) -> Node {
        let expression = &frame.function.expressions[handle];
        let mut needs = vec![];
        let mut label = None;
        let mut constant = None;
        match expression {
            Expression::Literal(literal) => constant = literal_value(literal),
            Expression::Constant(c) => constant = self.global_constant(self.module.constants[*c].init),
            Expression::ZeroValue(ty) => {
                constant = match self.module.types[*ty].inner {
                    TypeInner::Scalar(s) if s.kind == ScalarKind::Bool => Some(Const::Bool(false)),
                    TypeInner::Scalar(s) if s.kind != ScalarKind::Float => Some(Const::Int(0)),
                    _ => None,
                };
            }
            Expression::FunctionArgument(n) => {
                if let Some(&(node, value, _)) = frame.arguments.get(*n as usize) {
                    needs.push(node);
                    constant = value;
                }
            }
            Expression::LocalVariable(_) | Expression::GlobalVariable(_) | Expression::Override(_) => {}
            Expression::Compose { components, .. } => {
                needs.extend(components.clone().into_iter().map(|c| self.node(frame, c)));
            }
            Expression::Splat { value, .. } => needs.push(self.node(frame, *value)),
            Expression::Swizzle { vector, .. } => needs.push(self.node(frame, *vector)),
            Expression::Access { base, index } => {
                needs.extend([self.node(frame, *base), self.node(frame, *index)]);
            }
            Expression::AccessIndex { base, index } => {
                needs.push(self.node(frame, *base));
                if let Expression::Compose { components, .. } = &frame.function.expressions[*base]
                    && let Some(&component) = components.get(*index as usize)
                {
                    constant = self.constant(frame, component);
                }
            }
            Expression::Load { pointer } => {
                needs.push(self.node(frame, *pointer));
                match self.root(frame, *pointer) {
                    Some(Root::Global(v)) if self.globals.contains_key(&v) => {
                        label = Some(format!("load {}", self.globals[&v]));
                    }
                    Some(root) => {
                        needs.push(self.variable(root));
                        let whole = !matches!(
                            frame.function.expressions[*pointer],
                            Expression::Access { .. } | Expression::AccessIndex { .. }
                        );
                        constant = if whole { self.known.get(&root).copied() } else { None };
                    }
                    None => panic!("a pointer to nothing known"),
                }
            }
            Expression::Unary { op, expr } => {
                needs.push(self.node(frame, *expr));
                constant = self.constant(frame, *expr).and_then(|value| unary(*op, value));
                if *op == UnaryOperator::Negate && self.float(frame, handle).is_some() {
                    label = Some("neg".into());
                }
            }
            Expression::Binary { op, left, right } => {
                needs.extend([self.node(frame, *left), self.node(frame, *right)]);
                let both = self.constant(frame, *left).zip(self.constant(frame, *right));
                constant = both.and_then(|(l, r)| binary(*op, l, r)).map(|value| {
                    let bits = self.module_bits(frame, handle);
                    wrapped(value, bits)
                });
                if self.float(frame, handle).is_some() {
                    let name = match op {
                        BinaryOperator::Multiply => "mul",
                        BinaryOperator::Add => "add",
                        BinaryOperator::Subtract => "sub",
                        BinaryOperator::Divide => "div",
                        _ => "rem",
                    };
                    label = Some(name.into());
                }
            }
            Expression::Select { condition, accept, reject } => {
                let arms = match self.constant(frame, *condition) {
                    Some(Const::Bool(true)) => vec![*accept],
                    Some(Const::Bool(false)) => vec![*reject],
                    _ => vec![*condition, *accept, *reject],
                };
                if let [arm] = arms[..] {
                    constant = self.constant(frame, arm);
                }
                needs.extend(arms.into_iter().map(|a| self.node(frame, a)));
            }
            Expression::Relational { argument, .. } => needs.push(self.node(frame, *argument)),
            Expression::Math { fun, arg, arg1, arg2, arg3 } => {
                let arguments: Vec<_> = [Some(*arg), *arg1, *arg2, *arg3].into_iter().flatten().collect();
                let values: Option<Vec<Const>> = arguments.iter().map(|a| self.constant(frame, *a)).collect();
                constant = values.and_then(|values| math(*fun, &values));
                needs.extend(arguments.iter().map(|a| self.node(frame, *a)));
                if self.float(frame, handle).is_some() || self.float(frame, *arg).is_some() {
                    label = Some(format!("{fun:?}").to_lowercase());
                }
            }
            Expression::As { expr, kind, convert } => {
                needs.push(self.node(frame, *expr));
                constant = match (self.constant(frame, *expr), kind, convert) {
                    (Some(Const::Int(v)), ScalarKind::Uint, Some(4)) => {
                        Some(wrapped(Const::Int(v), Some((false, 4))))
                    }
                    (Some(Const::Int(v)), ScalarKind::Sint, Some(4)) => {
                        Some(wrapped(Const::Int(v), Some((true, 4))))
                    }
                    (Some(Const::Int(v)), ScalarKind::Bool, Some(_)) => Some(Const::Bool(v != 0)),
                    (Some(Const::Bool(b)), ScalarKind::Uint | ScalarKind::Sint, Some(_)) => {
                        Some(Const::Int(i64::from(b)))
                    }
                    (Some(Const::Bool(b)), ScalarKind::Bool, _) => Some(Const::Bool(b)),
                    _ => None,
                };
            }
            Expression::CallResult(_)
            | Expression::SubgroupBallotResult
            | Expression::SubgroupOperationResult { .. }
            | Expression::AtomicResult { .. }
            | Expression::WorkGroupUniformLoadResult { .. } => panic!("a result before its statement"),
            Expression::ArrayLength(_) => {}
            Expression::CooperativeLoad { data, .. } => {
                needs.extend([self.node(frame, data.pointer), self.node(frame, data.stride)]);
                label = Some(format!("matrix load {}", self.memory(frame, data.pointer)));
            }
            Expression::CooperativeMultiplyAdd { a, b, c } => {
                needs.extend([*a, *b, *c].map(|e| self.node(frame, e)));
                label = Some("matrix multiply-add".into());
            }
            other => panic!("an expression that no kernel has: {other:?}"),
        }
        let node = self.new_node(needs);
        if let Some(label) = label {
            let width = match self.float(frame, handle) {
                Some(n @ 2..) => format!("{label} x{n}"),
                _ => label,
            };
            items.push(Found::Event(width, node));
        }
        frame.nodes[handle.index()] = Some(node);
        frame.constants[handle.index()] = constant;
        node
    }

    /// The name of the memory behind a pointer.
    fn memory(&self, frame: &Frame<'a>, pointer: Handle<Expression>) -> String {
        match self.root(frame, pointer) {
            Some(Root::Global(v)) => self.globals.get(&v).cloned().unwrap_or_else(|| "private".into()),
            _ => "local".into(),
        }
    }

    /// Whether an integer type is signed, and its bytes.
    fn module_bits(&self, frame: &Frame<'a>, handle: Handle<Expression>) -> Option<(bool, u8)> {
        match *frame.info[handle].ty.inner_with(&self.module.types) {
            TypeInner::Scalar(s) => Some((s.kind == ScalarKind::Sint, s.width)),
            _ => None,
        }
    }

    fn global_constant(&self, handle: Handle<Expression>) -> Option<Const> {
        match &self.module.global_expressions[handle] {
            Expression::Literal(literal) => literal_value(literal),
            Expression::Constant(c) => self.global_constant(self.module.constants[*c].init),
            _ => None,
        }
    }

    /// Statements in a row. `tail`: nothing of the function comes after them.
    fn block(&mut self, frame: &mut Frame<'a>, statements: &[&'a Statement], tail: bool) -> Vec<Found> {
        let mut items = vec![];
        for (i, statement) in statements.iter().enumerate() {
            let rest = &statements[i + 1..];
            let then = |block: &'a Block| -> Vec<&'a Statement> {
                block.iter().chain(rest.iter().copied()).collect()
            };
            match statement {
                Statement::Emit(range) => {
                    for handle in range.clone() {
                        self.emit(frame, handle, &mut items);
                    }
                }
                Statement::Block(block) => {
                    items.extend(self.block(frame, &then(block), tail));
                    return items;
                }
                Statement::If { condition, accept, reject } => {
                    if let Some(Const::Bool(taken)) = self.constant(frame, *condition) {
                        let branch = if taken { accept } else { reject };
                        items.extend(self.block(frame, &then(branch), tail));
                        return items;
                    }
                    let (mut first, mut second): (Vec<_>, Vec<_>) =
                        (accept.iter().collect(), reject.iter().collect());
                    let takes_rest = tail && (returns(accept) || returns(reject));
                    if takes_rest && !returns(accept) {
                        first.extend(rest);
                    } else if takes_rest && !returns(reject) {
                        second.extend(rest);
                    }
                    self.branch(
                        frame,
                        *condition,
                        &first,
                        &second,
                        takes_rest || tail && rest.is_empty(),
                        &mut items,
                    );
                    if takes_rest {
                        return items;
                    }
                    if leaves(accept) && leaves(reject) {
                        return items;
                    }
                }
                Statement::Switch { selector, cases } => {
                    // No kernel has one with events so far: each case is a branch.
                    for case in cases {
                        let body: Vec<_> = case.body.iter().collect();
                        self.branch(frame, *selector, &body, &[], false, &mut items);
                    }
                }
                Statement::Loop { body, continuing, break_if } => {
                    self.forget(frame, body);
                    self.forget(frame, continuing);
                    self.bounds.push(None);
                    let all: Vec<&Statement> = body.iter().chain(continuing.iter()).collect();
                    let inside = self.block(frame, &all, false);
                    if let Some(condition) = break_if {
                        let node = self.node(frame, *condition);
                        self.roots.push(node);
                        self.bound(frame, *condition, false);
                    }
                    self.forget(frame, body);
                    self.forget(frame, continuing);
                    let bound = self.bounds.pop().expect("pushed above").unwrap_or_default();
                    items.push(Found::Loop(bound, inside));
                }
                Statement::Break | Statement::Continue => return items,
                Statement::Return { value } => {
                    let node = value.map(|value| self.node(frame, value));
                    frame.returned.extend(node);
                    frame.returned.extend(&self.conditions[frame.outside..]);
                    if !tail {
                        self.effect(&mut items, "return", vec![]);
                    }
                    return items;
                }
                Statement::Kill => panic!("a kernel discards nothing"),
                Statement::ControlBarrier(_) | Statement::MemoryBarrier(_) => {
                    self.effect(&mut items, "barrier", vec![]);
                }
                Statement::Store { pointer, value } => self.store(frame, *pointer, *value, &mut items),
                Statement::Call { function, arguments, result } => {
                    let arguments = arguments
                        .iter()
                        .map(|&a| {
                            let node = self.node(frame, a);
                            (node, frame.constants[a.index()], self.pointed(frame, a))
                        })
                        .collect();
                    let callee = &self.module.functions[*function];
                    let mut inner = self.frame(callee, &self.info[*function], arguments);
                    let body: Vec<&Statement> = callee.body.iter().collect();
                    items.extend(self.block(&mut inner, &body, true));
                    if let Some(result) = result {
                        let constant = match inner.returned[..] {
                            // The one value that is returned, on no condition.
                            [value] => inner
                                .nodes
                                .iter()
                                .position(|n| *n == Some(value))
                                .and_then(|e| inner.constants[e]),
                            _ => None,
                        };
                        frame.nodes[result.index()] = Some(self.new_node(inner.returned));
                        frame.constants[result.index()] = constant;
                    }
                }
                Statement::SubgroupGather { mode, argument, result } => {
                    let name = format!("{mode:?}").to_lowercase();
                    let name = name.split(['(', '[']).next().unwrap_or(&name);
                    let node = self.node(frame, *argument);
                    let node = self.effect(&mut items, format!("subgroup {name}"), vec![node]);
                    frame.nodes[result.index()] = Some(node);
                }
                Statement::SubgroupCollectiveOperation { op, collective_op, argument, result } => {
                    let node = self.node(frame, *argument);
                    let label = format!("subgroup {op:?}-{collective_op:?}").to_lowercase();
                    frame.nodes[result.index()] = Some(self.effect(&mut items, label, vec![node]));
                }
                Statement::SubgroupBallot { result, predicate } => {
                    let needs = predicate.map(|p| self.node(frame, p)).into_iter().collect();
                    frame.nodes[result.index()] = Some(self.effect(&mut items, "subgroup ballot", needs));
                }
                Statement::WorkGroupUniformLoad { pointer, result } => {
                    let needs = vec![self.node(frame, *pointer)];
                    self.effect(&mut items, "barrier", vec![]);
                    let node = self.effect(&mut items, "load shared", needs);
                    frame.nodes[result.index()] = Some(node);
                }
                Statement::CooperativeStore { target, data } => {
                    let needs = [*target, data.pointer, data.stride].map(|e| self.node(frame, e)).to_vec();
                    let label = format!("matrix store {}", self.memory(frame, data.pointer));
                    self.effect(&mut items, label, needs);
                }
                other => panic!("a statement that no kernel has: {other:?}"),
            }
        }
        items
    }

    /// The root of an argument that is a pointer.
    fn pointed(&self, frame: &Frame<'a>, argument: Handle<Expression>) -> Option<Root> {
        let inner = frame.info[argument].ty.inner_with(&self.module.types);
        let pointer = matches!(inner, TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. });
        if pointer { self.root(frame, argument) } else { None }
    }

    fn store(
        &mut self,
        frame: &mut Frame<'a>,
        pointer: Handle<Expression>,
        value: Handle<Expression>,
        items: &mut Vec<Found>,
    ) {
        let needs = vec![self.node(frame, pointer), self.node(frame, value)];
        let constant = frame.constants[value.index()];
        match self.root(frame, pointer) {
            Some(Root::Global(v)) if self.globals.contains_key(&v) => {
                let label = format!("store {}", self.globals[&v]);
                self.effect(items, label, needs);
            }
            Some(root) => {
                let variable = self.variable(root);
                let conditions = self.conditions.clone();
                self.needs[variable].extend(needs.into_iter().chain(conditions));
                let whole = !matches!(
                    frame.function.expressions[pointer],
                    Expression::Access { .. } | Expression::AccessIndex { .. }
                );
                match constant {
                    Some(value) if whole => self.known.insert(root, value),
                    _ => self.known.remove(&root),
                };
            }
            None => panic!("a pointer to nothing known"),
        }
    }

    /// Both sides of a branch that is taken or not.
    fn branch(
        &mut self,
        frame: &mut Frame<'a>,
        condition: Handle<Expression>,
        accept: &[&'a Statement],
        reject: &[&'a Statement],
        tail: bool,
        items: &mut Vec<Found>,
    ) {
        let node = self.node(frame, condition);
        let ends = |side: &[&Statement]| matches!(side.last(), Some(Statement::Break));
        if ends(accept) || ends(reject) {
            self.bound(frame, condition, ends(reject));
        }
        if jumps(accept) || jumps(reject) {
            // Whether what follows is reached depends on it.
            self.roots.push(node);
        }
        self.conditions.push(node);
        let before = self.known.clone();
        let first = self.block(frame, accept, tail);
        let after_first = std::mem::replace(&mut self.known, before);
        let second = self.block(frame, reject, tail);
        self.conditions.pop();
        match (leave(accept), leave(reject)) {
            (_, true) => self.known = after_first,
            (true, false) => {}
            (false, false) => self.known.retain(|root, value| after_first.get(root) == Some(value)),
        }
        items.push(Found::If(first, second));
    }

    /// Says where the innermost loop ends: at a condition that holds as long as it goes on, or that ends it.
    fn bound(&mut self, frame: &mut Frame<'a>, condition: Handle<Expression>, goes_on: bool) {
        let Expression::Binary { op, right, .. } = frame.function.expressions[condition] else { return };
        let Some(Const::Int(end)) = self.constant(frame, right) else { return };
        use BinaryOperator::{Greater, GreaterEqual, Less, LessEqual};
        let text = match (op, goes_on) {
            (Less, true) | (GreaterEqual, false) => format!("< {end}"),
            (LessEqual, true) | (Greater, false) => format!("< {}", end + 1),
            (GreaterEqual, true) | (Less, false) => format!(">= {end}"),
            (Greater, true) | (LessEqual, false) => format!(">= {}", end + 1),
            _ => return,
        };
        if let Some(bound @ None) = self.bounds.last_mut() {
            *bound = Some(text);
        }
    }

    /// What a loop writes is not known in it.
    fn forget(&mut self, frame: &Frame<'a>, block: &Block) {
        for statement in block {
            match statement {
                Statement::Store { pointer, .. } => {
                    if let Some(root) = self.root(frame, *pointer) {
                        self.known.remove(&root);
                    }
                }
                Statement::Call { arguments, .. } => {
                    for argument in arguments {
                        if let Some(root) = self.pointed(frame, *argument) {
                            self.known.remove(&root);
                        }
                    }
                }
                Statement::Block(block) => self.forget(frame, block),
                Statement::If { accept, reject, .. } => {
                    self.forget(frame, accept);
                    self.forget(frame, reject);
                }
                Statement::Loop { body, continuing, .. } => {
                    self.forget(frame, body);
                    self.forget(frame, continuing);
                }
                Statement::Switch { cases, .. } => cases.iter().for_each(|c| self.forget(frame, &c.body)),
                _ => {}
            }
        }
    }

    /// The items that something depends on.
    fn live(&self, found: Vec<Found>) -> Vec<Item> {
        let mut live = vec![false; self.needs.len()];
        let mut open = self.roots.clone();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut live[node], true) {
                open.extend(&self.needs[node]);
            }
        }
        fn kept(found: Vec<Found>, live: &[bool]) -> Vec<Item> {
            let mut items = vec![];
            for item in found {
                match item {
                    Found::Event(label, node) if live[node] => items.push(Item::Event(label)),
                    Found::Event(..) => {}
                    Found::If(accept, reject) => match (kept(accept, live), kept(reject, live)) {
                        (a, b) if a.is_empty() && b.is_empty() => {}
                        (a, b) if a.is_empty() => items.push(Item::If(b, a)),
                        (a, b) => items.push(Item::If(a, b)),
                    },
                    Found::Loop(bound, body) => {
                        let body = kept(body, live);
                        if !body.is_empty() {
                            items.push(Item::Loop(bound, body));
                        }
                    }
                }
            }
            items
        }
        kept(found, &live)
    }
}

/// Whether a block ends with a return on every way.
fn returns(block: &Block) -> bool {
    match block.last() {
        Some(Statement::Return { .. }) => true,
        Some(Statement::Block(block)) => returns(block),
        Some(Statement::If { accept, reject, .. }) => returns(accept) && returns(reject),
        _ => false,
    }
}

/// Whether nothing behind a block is reached from its end.
fn leaves(block: &Block) -> bool {
    matches!(block.last(), Some(Statement::Break | Statement::Continue)) || returns(block)
}

fn leave(statements: &[&Statement]) -> bool {
    match statements.last() {
        Some(Statement::Break | Statement::Continue | Statement::Return { .. }) => true,
        Some(Statement::Block(block)) => leaves(block),
        Some(Statement::If { accept, reject, .. }) => leaves(accept) && leaves(reject),
        _ => false,
    }
}

/// Whether a loop may be left, or a turn of it, or the function, from within.
fn jumps(statements: &[&Statement]) -> bool {
    let inside = |block: &Block| jumps(&block.iter().collect::<Vec<_>>());
    statements.iter().any(|s| match s {
        Statement::Break | Statement::Continue | Statement::Return { .. } => true,
        Statement::Block(block) => inside(block),
        Statement::If { accept, reject, .. } => inside(accept) || inside(reject),
        Statement::Loop { body, .. } => inside(body),
        _ => false,
    })
}

fn literal_value(literal: &Literal) -> Option<Const> {
    match *literal {
        Literal::Bool(b) => Some(Const::Bool(b)),
        Literal::U32(v) => Some(Const::Int(v.into())),
        Literal::I32(v) => Some(Const::Int(v.into())),
        Literal::I64(v) | Literal::AbstractInt(v) => Some(Const::Int(v)),
        Literal::U64(v) => i64::try_from(v).ok().map(Const::Int),
        _ => None,
    }
}

/// A value as its type holds it: signed or not, in so many bytes.
fn wrapped(value: Const, bits: Option<(bool, u8)>) -> Const {
    match (value, bits) {
        (Const::Int(v), Some((false, 4))) => Const::Int(i64::from(v as u32)),
        (Const::Int(v), Some((true, 4))) => Const::Int(i64::from(v as i32)),
        (value, _) => value,
    }
}

fn unary(op: UnaryOperator, value: Const) -> Option<Const> {
    match (op, value) {
        (UnaryOperator::LogicalNot, Const::Bool(b)) => Some(Const::Bool(!b)),
        (UnaryOperator::Negate, Const::Int(v)) => Some(Const::Int(v.checked_neg()?)),
        _ => None,
    }
}

fn binary(op: BinaryOperator, left: Const, right: Const) -> Option<Const> {
    use BinaryOperator::*;
    match (left, right) {
        (Const::Bool(l), Const::Bool(r)) => match op {
            And | LogicalAnd => Some(Const::Bool(l && r)),
            InclusiveOr | LogicalOr => Some(Const::Bool(l || r)),
            Equal => Some(Const::Bool(l == r)),
            NotEqual | ExclusiveOr => Some(Const::Bool(l != r)),
            _ => None,
        },
        (Const::Int(l), Const::Int(r)) => Some(match op {
            Add => Const::Int(l.checked_add(r)?),
            Subtract => Const::Int(l.checked_sub(r)?),
            Multiply => Const::Int(l.checked_mul(r)?),
            Divide => Const::Int(l.checked_div(r)?),
            Modulo => Const::Int(l.checked_rem(r)?),
            Equal => Const::Bool(l == r),
            NotEqual => Const::Bool(l != r),
            Less => Const::Bool(l < r),
            LessEqual => Const::Bool(l <= r),
            Greater => Const::Bool(l > r),
            GreaterEqual => Const::Bool(l >= r),
            And => Const::Int(l & r),
            InclusiveOr => Const::Int(l | r),
            ExclusiveOr => Const::Int(l ^ r),
            ShiftLeft => Const::Int(l.checked_shl(r.try_into().ok()?)?),
            ShiftRight => Const::Int(l.checked_shr(r.try_into().ok()?)?),
            _ => return None,
        }),
        _ => None,
    }
}

fn math(fun: naga::MathFunction, values: &[Const]) -> Option<Const> {
    use naga::MathFunction::{Clamp, Max, Min};
    match (fun, values) {
        (Min, &[Const::Int(a), Const::Int(b)]) => Some(Const::Int(a.min(b))),
        (Max, &[Const::Int(a), Const::Int(b)]) => Some(Const::Int(a.max(b))),
        (Clamp, &[Const::Int(v), Const::Int(low), Const::Int(high)]) => {
            Some(Const::Int(v.max(low).min(high)))
        }
        _ => None,
    }
}
