//! The invariants of ARCHITECTURE.md, read off the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the ground up: each may use those of lower floors only.
const FLOORS: &[(&str, u32)] = &[
    ("field", 0),
    ("order", 0),
    ("luma", 0),
    ("shared", 0),
    ("size", 0),
    ("tensor", 0),
    ("files", 0),
    ("output", 0),
    ("memory", 0),
    ("threads", 0),
    ("graph", 1),
    ("images", 1),
    ("checkpoint", 1),
    ("kernel", 2),
    ("preprocess", 2),
    ("trial", 3),
    ("models", 3),
    ("rewrite", 3),
    ("reference", 3),
    ("onnx", 4),
    ("plan", 4),
    ("gpu", 5),
    ("cpu", 5),
    ("verify", 5),
    ("session", 6),
    ("bench", 7),
    ("tune", 7),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "wgsl") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![];
    sources(&root.join("src"), &mut paths);
    sources(&root.join("shaders"), &mut paths);
    assert!(paths.len() > 20, "only {} sources found", paths.len());
    paths
        .into_iter()
        .map(|p| {
            let name = p.strip_prefix(root).expect("inside the root").display().to_string();
            (name, fs::read_to_string(&p).expect("a readable source"))
        })
        .collect()
}

/// `src/plan/lower.rs` and `src/reference.rs` belong to `plan` and `reference`.
fn module(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("src/")?;
    let first = rest.split('/').next()?;
    Some(first.trim_end_matches(".rs")).filter(|m| !matches!(*m, "lib" | "main"))
}

#[test]
fn modules_use_lower_floors_only() {
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut edges = 0;
    for (name, text) in all_sources() {
        let Some(own) = module(&name) else { continue };
        let floor = *floors.get(own).unwrap_or_else(|| panic!("{name}: module {own} has no floor"));
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, _) in code.match_indices("crate::") {
            let used: String =
                code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(used_floor) = floors.get(used.as_str())
                && used != own
            {
                edges += 1;
                assert!(*used_floor < floor, "{name} (floor {floor}) uses {used} (floor {used_floor})");
            }
        }
    }
    assert!(edges > 20, "only {edges} uses seen: the test reads the source wrongly");
}

#[test]
fn only_the_gpu_and_the_public_face_name_wgpu() {
    for (name, text) in all_sources() {
        let allowed = matches!(module(&name), Some("gpu" | "session")) || name == "src/lib.rs";
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        assert!(allowed || !code.clone().any(|l| l.contains("wgpu::")), "{name} names wgpu");
    }
}

#[test]
fn the_gpu_never_sees_a_graph() {
    for (name, text) in all_sources() {
        if matches!(module(&name), Some("gpu" | "cpu")) {
            assert!(!text.contains("graph::Graph"), "{name} names Graph");
        }
    }
}

#[test]
fn files_stay_short() {
    for (name, text) in all_sources() {
        let lines = text.lines().count();
        assert!(lines <= 450, "{name} has {lines} lines: find its seam");
    }
}

/// The program's files too.
#[test]
fn the_programs_files_stay_short() {
    let mut paths = vec![];
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/src"), &mut paths);
    assert!(paths.len() > 20, "only {} sources found", paths.len());
    for path in paths {
        let lines = fs::read_to_string(&path).expect("a readable source").lines().count();
        assert!(lines <= 450, "{} has {lines} lines: find its seam", path.display());
    }
}

/// What a user of the program can type is for the program to say: the library is in apps too.
#[test]
fn errors_name_no_option_of_the_program() {
    let mut errors = 0;
    for (name, text) in all_sources() {
        for part in text.split("#[error(").skip(1) {
            let message = part.split(")]").next().unwrap_or_default();
            errors += 1;
            assert!(!message.contains("--") && !message.contains("`rmnet "), "{name}: {message}");
        }
    }
    assert!(errors > 80, "only {errors} messages seen");
}

/// Examples in docs use what a user of the crate has: the doctests have the feature `internals` on, and would not notice.
#[test]
fn examples_use_the_public_face() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = all_sources();
    files.retain(|(name, _)| {
        ["session/", "gpu/", "models/", "checkpoint/", "preprocess/", "images/", "threads/", "lib.rs"]
            .iter()
            .any(|m| name.starts_with(&format!("src/{m}")))
    });
    let mut paths = vec![];
    sources(&root.join("examples"), &mut paths);
    for path in paths.into_iter().chain(["README.md", "docs/embedding.md"].map(|page| root.join(page))) {
        files.push((path.display().to_string(), fs::read_to_string(&path).expect("a readable file")));
    }
    let internal = [
        "bench",
        "checkpoint",
        "cpu",
        "files",
        "gpu",
        "graph",
        "kernel",
        "memory",
        "models",
        "onnx",
        "output",
        "plan",
        "reference",
        "rewrite",
        "tensor",
        "threads",
        "tune",
        "verify",
    ];
    for (name, text) in files {
        let doc = |line: &&str| {
            !name.ends_with(".rs") || name.contains("examples") || line.trim_start().starts_with("//")
        };
        for line in text.lines().filter(doc) {
            for module in internal {
                assert!(!line.contains(&format!("rmnet::{module}::")), "{name}: {line}");
            }
        }
    }
}

/// The paths of a `use` tree, each with the name that it is known by: `a::{b, c as d}` is `a::b` as `b`, `a::c` as `d`.
fn use_paths(tree: &str, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    if let Some((head, inner)) = tree.split_once('{') {
        let mut path = before.to_vec();
        path.extend(head.split("::").map(str::trim).filter(|s| !s.is_empty()).map(String::from));
        let inner = inner.trim_end().strip_suffix('}').expect("a closed use tree");
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    use_paths(&inner[start..at], &path, found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let mut whole = before.to_vec();
    whole.extend(path.split("::").map(|s| s.trim().to_string()));
    if whole.len() > 1 && whole.last().is_some_and(|last| last == "self") {
        whole.pop();
    }
    let name = alias.map_or_else(|| whole.last().cloned().unwrap_or_default(), |a| a.trim().to_string());
    found.push((whole, name));
}

/// A name that a file imports.
struct Import {
    path: Vec<String>,
    name: String,
    /// Whether others have it from here.
    exported: bool,
}

/// One file as the test for circles reads it.
struct SourceFile {
    name: String,
    /// `["models", "build", "head"]`
    module: Vec<String>,
    imports: Vec<Import>,
    /// Names and paths in the code, without comments, tests and imports.
    paths: Vec<Vec<String>>,
}

/// `src/models/assume/mod.rs` is the module `models::assume`, `src/models/load.rs` is `models::load`.
fn module_path(name: &str) -> Vec<String> {
    let inner = name.trim_start_matches("src/").trim_end_matches(".rs");
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    inner.split('/').filter(|part| *part != "lib").map(String::from).collect()
}

impl SourceFile {
    fn read(name: &str, text: &str) -> SourceFile {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect();
        let (mut imports, mut code) = (vec![], String::new());
        let mut statement = String::new();
        for line in lines {
            let begins = line.trim_start().trim_start_matches("pub");
            let begins = if begins.starts_with('(') {
                begins.split_once(')').map_or(begins, |(_, b)| b)
            } else {
                begins
            };
            if statement.is_empty() && !begins.trim_start().starts_with("use ") {
                code.push_str(line);
                code.push('\n');
                continue;
            }
            statement.push_str(line);
            statement.push(' ');
            if line.trim_end().ends_with(';') {
                let exported = statement.trim_start().starts_with("pub");
                let tree = statement.split_once("use ").map_or("", |(_, t)| t).trim().trim_end_matches(';');
                let mut paths = vec![];
                use_paths(tree, &[], &mut paths);
                imports.extend(paths.into_iter().map(|(path, name)| Import { path, name, exported }));
                statement.clear();
            }
        }
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let parts =
            code.split(|c| !word(c)).map(|part| part.trim_matches(':')).filter(|part| !part.is_empty());
        let paths = parts.map(|part| part.split("::").map(String::from).collect()).collect();
        SourceFile { name: name.into(), module: module_path(name), imports, paths }
    }
}

/// The files of the crate, by what they use of one another.
struct Files {
    files: Vec<SourceFile>,
    by_module: BTreeMap<Vec<String>, usize>,
}

impl Files {
    fn read() -> Files {
        let rust =
            |name: &str| name.ends_with(".rs") && !name.ends_with("/tests.rs") && name != "src/main.rs";
        let files: Vec<SourceFile> = all_sources()
            .iter()
            .filter(|(name, _)| rust(name))
            .map(|(name, text)| SourceFile::read(name, text))
            .collect();
        let by_module = files.iter().enumerate().map(|(i, f)| (f.module.clone(), i)).collect();
        Files { files, by_module }
    }

    fn child(&self, module: &[String], name: &str) -> Option<Vec<String>> {
        let child: Vec<String> = module.iter().cloned().chain([name.to_string()]).collect();
        self.by_module.contains_key(&child).then_some(child)
    }

    /// The file that defines what a path names, as seen from the file `from`: an item that a module re-exports is one of the file
    /// that it comes from. `None` for other crates, local names, and modules alone: what of those is used, other paths say. It
    /// follows `steps` re-exports at most.
    fn definition(&self, from: usize, path: &[String], steps: usize) -> Option<usize> {
        let (first, mut rest) = path.split_first()?;
        let mut module = self.files[from].module.clone();
        match first.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => {
                module.pop();
                while rest.first().is_some_and(|part| part == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            name => match self.child(&module, name) {
                Some(child) => module = child,
                None => {
                    let import = self.files[from].imports.iter().find(|import| import.name == *name)?;
                    // `use serde::Serialize` is known by its first part here and there.
                    (steps > 0 && import.path.first() != Some(first)).then_some(())?;
                    let whole: Vec<String> = import.path.iter().chain(rest).cloned().collect();
                    return self.definition(from, &whole, steps - 1);
                }
            },
        }
        while let Some(child) = rest.first().and_then(|part| self.child(&module, part)) {
            module = child;
            rest = &rest[1..];
        }
        let (file, item) = (*self.by_module.get(&module)?, rest.first()?);
        match self.files[file].imports.iter().find(|import| import.name == *item) {
            Some(import) if steps > 0 => self.definition(file, &import.path, steps - 1).or(Some(file)),
            _ => Some(file),
        }
    }

    /// The files that a file uses items of. A `mod` declaration, or a re-export that the file's own code does not use, is no use.
    fn used_by(&self, file: usize) -> BTreeSet<usize> {
        let SourceFile { imports, paths, .. } = &self.files[file];
        let own = |name: &str| paths.iter().any(|path| path[0] == name);
        let imported = imports.iter().filter(|import| !import.exported || own(&import.name)).map(|i| &i.path);
        let named = paths.iter().filter(|path| path.len() > 1);
        let used = imported.chain(named).filter_map(|path| self.definition(file, path, 8));
        used.filter(|used| *used != file).collect()
    }

    /// Whether `head` is the `mod.rs` of a folder that `file` lies in.
    fn is_head(&self, head: usize, file: usize) -> bool {
        let [head, file] = [head, file].map(|i| &self.files[i]);
        head.name.ends_with("/mod.rs")
            && file.module.len() > head.module.len()
            && file.module.starts_with(&head.module)
    }
}

/// Folders whose `mod.rs` both holds what the files below share and calls them. In every other folder, and in new ones, `mod.rs` does
/// one of the two. An entry stands for the folders inside as well.
const SHARING_HEADS: [&str; 7] = ["bench", "checkpoint", "graph", "images", "plan", "preprocess", "rewrite"];

/// Files that use one another all the same.
const CIRCLES: [[&str; 2]; 1] = [
    // Types that hold one another: a convolution has weights, and a weight may be a convolution that is multiplied out.
    ["src/graph/conv.rs", "src/graph/weight.rs"],
];

#[test]
fn files_do_not_go_in_circles() {
    let all = Files::read();
    let name = |file: usize| all.files[file].name.as_str();
    let excepted = |from: usize, to: usize| {
        let head = name(to).trim_start_matches("src/").trim_end_matches("mod.rs");
        let shares = |folder: &str| head.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        all.is_head(to, from) && SHARING_HEADS.iter().any(|folder| shares(folder))
            || CIRCLES.iter().any(|pair| pair.contains(&name(from)) && pair.contains(&name(to)))
    };
    let uses = |file: usize| -> BTreeSet<usize> {
        all.used_by(file).into_iter().filter(|used| !excepted(file, *used)).collect()
    };
    let uses: Vec<BTreeSet<usize>> = (0..all.files.len()).map(uses).collect();
    let edges: usize = uses.iter().map(BTreeSet::len).sum();
    assert!(edges > 400, "only {edges} uses seen: the test reads the source wrongly");
    let reached = |from: usize| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(uses[file].iter().filter(|used| seen.insert(**used)));
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..uses.len()).map(reached).collect();
    let mut circles = vec![];
    for (file, from_here) in reached.iter().enumerate().filter(|(file, reached)| reached.contains(file)) {
        let circle: Vec<usize> =
            from_here.iter().copied().filter(|other| reached[*other].contains(&file)).collect();
        if circle[0] == file {
            for file in &circle {
                let used: Vec<&str> =
                    uses[*file].iter().filter(|u| circle.contains(u)).map(|u| name(*u)).collect();
                circles.push(format!("{} uses {}", name(*file), used.join(", ")));
            }
        }
    }
    assert!(circles.is_empty(), "files use one another in a circle:\n{}", circles.join("\n"));
}
