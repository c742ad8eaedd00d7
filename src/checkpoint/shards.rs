//! A checkpoint split over several files, opened by its index: `model.safetensors.index.json` or `pytorch_model.bin.index.json`.

use super::open::{self, Access};
use super::{CheckpointError, Contents, Format, read};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// Maximum bytes of an index: enough for a million tensors.
const MAX_INDEX: u64 = 64 << 20;

/// The tensors of all shards, the format of the first shard, and the bytes of all shards together.
pub(super) fn open(index: &Path, access: Access) -> Result<(Contents, Format, usize), CheckpointError> {
    let refuse = |reason: String| CheckpointError::Index { index: index.to_path_buf(), reason };
    let json = open::json_up_to(index, MAX_INDEX)?.ok_or_else(|| refuse("no such file".into()))?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map =
        map.ok_or_else(|| refuse("expected an object `weight_map` of tensors and their files".into()))?;
    let mut shards: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (tensor, file) in map {
        let shown = tensor.escape_debug();
        let file =
            file.as_str().ok_or_else(|| refuse(format!("tensor `{shown}`: expected the name of a file")))?;
        if !is_inside(file) {
            let file = file.escape_debug();
            return Err(refuse(format!(
                "tensor `{shown}`: `{file}` is not the name of a file in this folder"
            )));
        }
        shards.entry(file).or_default().insert(tensor);
    }

    let folder = index.parent().unwrap_or(Path::new(""));
    let (mut all, mut format, mut size) = (Contents::default(), None, 0usize);
    for (file, tensors) in shards {
        let shown = file.escape_debug();
        let path = folder.join(file);
        if path.try_exists().is_ok_and(|exists| !exists) {
            return Err(refuse(format!("shard `{shown}` is missing; it holds {} tensors", tensors.len())));
        }
        let owner = open::bytes(&path, access)?;
        let (shard, of) = read(&owner, &path.display().to_string())?;
        format.get_or_insert(of);
        size = size.saturating_add(owner.size());
        let holds =
            |t: &str| shard.tensors.contains_key(t) || shard.others.contains_key(t) || super::is_counter(t);
        if let Some(tensor) = tensors.iter().find(|t| !holds(t)) {
            return Err(refuse(format!("tensor `{}` is not in its shard `{shown}`", tensor.escape_debug())));
        }
        let mut names = shard.tensors.keys().chain(shard.others.keys());
        if let Some(tensor) = names.find(|t| all.tensors.contains_key(*t) || all.others.contains_key(*t)) {
            return Err(refuse(format!(
                "tensor `{}` is in `{shown}` and in a shard before it",
                tensor.escape_debug()
            )));
        }
        all.tensors.extend(shard.tensors);
        all.others.extend(shard.others);
        for (key, value) in shard.metadata {
            all.metadata.entry(key).or_insert(value);
        }
    }
    let format = format.ok_or_else(|| refuse("`weight_map` names no tensor".into()))?;
    Ok((all, format, size))
}

/// Whether a file name stays inside its folder.
fn is_inside(file: &str) -> bool {
    let mut components = Path::new(file).components();
    !file.is_empty() && !file.contains('\\') && components.all(|c| matches!(c, Component::Normal(_)))
}
