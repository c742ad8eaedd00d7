//! Tuning files: refused, or read as what they are written as.

use crate::file::change_json;
use crate::source::Source;
use rmnet::gpu::Tuning;
use serde_json::json;

pub fn tuning(data: &[u8]) {
    let mut s = Source::new(data);
    let text = if s.one_in(3) {
        String::from_utf8_lossy(s.rest()).into_owned()
    } else {
        let (gemm, direct) = ("gemm 64px x 64oc x 16", "direct 4px x 8oc");
        let kernel = json!({ "kernel": gemm, "time_ns": 10, "default": direct, "default_ns": 12 });
        let adapter = |name: &str| {
            json!({ "adapter": name, "driver": "1", "backend": "vulkan", "rmnet": "0.1.0",
                "kernels": { "conv 3x3": kernel, "": kernel } })
        };
        let mut value = serde_json::to_value(Tuning::default()).expect("text and numbers");
        value["adapters"] = json!([adapter("a"), adapter("a"), adapter("b")]);
        for _ in 0..s.within(0, 6) {
            change_json(&mut value, &mut s);
        }
        value.to_string()
    };
    match Tuning::from_json(&text) {
        Ok(read) => {
            let again = Tuning::from_json(&read.to_json()).expect("a tuning that was written");
            assert_eq!((read.len(), read.to_json()), (again.len(), again.to_json()));
            let mut merged = read.clone();
            merged.merge(again);
            assert_eq!(merged.to_json(), read.to_json());
        }
        Err(e) => drop(e.to_string()),
    }
}
