//! The network as `networks.py` lists it, for libraries without an importer: run operation by operation in the library's own calls.

use serde::Deserialize;
use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

/// One operation; fields that it does not have are empty.
#[derive(Deserialize)]
pub struct Op {
    pub op: String,
    pub inputs: Vec<String>,
    pub output: String,
    #[serde(default)]
    pub weight: String,
    #[serde(default)]
    pub bias: String,
    #[serde(default)]
    pub kernel: [usize; 2],
    #[serde(default)]
    pub stride: [usize; 2],
    #[serde(default)]
    pub pad: [usize; 2],
    #[serde(default)]
    pub groups: usize,
    /// Values nobody reads after this operation.
    #[serde(skip)]
    pub last: Vec<String>,
}

pub fn read(folder: &Path) -> Result<Vec<Op>, Box<dyn Error>> {
    let mut ops: Vec<Op> = serde_json::from_slice(&std::fs::read(folder.join("graph.json"))?)?;
    let mut seen = std::collections::HashSet::new();
    for op in ops.iter_mut().rev() {
        op.last = op.inputs.iter().filter(|&name| seen.insert(name.clone())).cloned().collect();
    }
    Ok(ops)
}

/// Runs the operations in order; `apply` does one, given its inputs.
pub fn run<T, E>(ops: &[Op], input: T, mut apply: impl FnMut(&Op, &[&T]) -> Result<T, E>) -> Result<T, E> {
    let mut values = HashMap::from([("input".to_string(), input)]);
    for op in ops {
        let inputs: Vec<&T> = op.inputs.iter().map(|name| &values[name]).collect();
        let output = apply(op, &inputs)?;
        for name in &op.last {
            values.remove(name);
        }
        values.insert(op.output.clone(), output);
    }
    Ok(values.remove("logits").expect("the list ends in the logits"))
}
