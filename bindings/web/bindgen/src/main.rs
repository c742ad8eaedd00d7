//! `rmnet-web-bindgen INPUT.wasm FOLDER`: writes `FOLDER/core.js` and `FOLDER/core_bg.wasm`, an ES module for browsers.

mod order;

use std::error::Error;
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, folder] = &arguments[..] else {
        eprintln!("usage: rmnet-web-bindgen INPUT.wasm FOLDER");
        std::process::exit(2);
    };
    if let Err(e) = write(input, Path::new(folder)) {
        eprintln!("{input}: {e}");
        std::process::exit(1);
    }
}

fn write(input: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    let bindgen = bindgen.input_path(input).out_name("core").typescript(false);
    // The names of functions are needed for their order, and left out then.
    bindgen.web(true)?.remove_producers_section(true).omit_default_module_path(false).generate(folder)?;
    let wasm = folder.join("core_bg.wasm");
    let ordered = order::by_name(&std::fs::read(&wasm)?)?;
    Ok(std::fs::write(&wasm, ordered)?)
}
