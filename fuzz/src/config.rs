//! Texts of `config.json` and `preprocessor_config.json` beside whole weights.

use crate::file::{any_json, change_json, fixtures};
use crate::source::Source;
use rmnet::checkpoint::Checkpoint;
use rmnet::preprocess::Preprocess;
use rmnet::{Assume, LoadOptions, Model};
use serde_json::{Value, json};

pub fn config(data: &[u8]) {
    let mut s = Source::new(data);
    let file = s.pick(fixtures());
    let raw = s.one_in(3);
    let changed = |value: &Option<Value>, s: &mut Source| {
        let mut value = value.clone().unwrap_or_else(|| json!({}));
        for _ in 0..s.within(0, 5) {
            change_json(&mut value, s);
        }
        value
    };
    let mut assume = Assume::default();
    let [config, preprocessor] = if raw {
        let cut = s.within(0, 4096);
        let rest = String::from_utf8_lossy(s.rest()).into_owned();
        let at = (0..=cut.min(rest.len())).rev().find(|i| rest.is_char_boundary(*i)).unwrap_or(0);
        [rest[..at].to_string(), rest[at..].to_string()]
    } else {
        let both = [changed(&file.config, &mut s), changed(&file.preprocessor, &mut s)];
        // What a config states of its own: as the command line does.
        if s.one_in(3) {
            let keys = ["epsilon", "block_strides", "stem_pool", "activation", "prefix", "preprocess"];
            let key = if s.one_in(4) { s.text(8) } else { (*s.pick(&keys)).into() };
            let value = any_json(&mut s).to_string();
            let _ = assume.state(&key, value.trim_matches('"')).map_err(|e| e.to_string());
        }
        for value in &both {
            direct(value);
        }
        both.map(|v| v.to_string())
    };
    let Ok(checkpoint) = Checkpoint::from_bytes(file.to_bytes(), Some(&config)) else { return };
    let checkpoint = match checkpoint.with_preprocessor_config(&preprocessor) {
        Ok(checkpoint) => checkpoint,
        Err(e) => return drop(e.to_string()),
    };
    let options = LoadOptions::default().size([file.size; 2]).assume(assume);
    match Model::load(&checkpoint, &options) {
        Ok(model) => drop(model.graph.to_string()),
        Err(e) => drop(e.to_string()),
    }
}

fn direct(value: &Value) {
    for read in [Preprocess::from_timm(value), Preprocess::from_hugging_face(value)] {
        match read {
            Ok(p) => drop(p.to_string()),
            Err(e) => drop(e.to_string()),
        }
    }
}
