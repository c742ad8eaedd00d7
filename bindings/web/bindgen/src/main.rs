//! `rmnet-web-bindgen INPUT.wasm FOLDER`: writes `FOLDER/core.js` and `FOLDER/core_bg.wasm`, an ES module for browsers.

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, folder] = &arguments[..] else {
        eprintln!("usage: rmnet-web-bindgen INPUT.wasm FOLDER");
        std::process::exit(2);
    };
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    let bindgen = bindgen.input_path(input).out_name("core").typescript(false);
    let written = bindgen.web(true).and_then(|b| {
        b.remove_name_section(true)
            .remove_producers_section(true)
            .omit_default_module_path(false)
            .generate(folder)
    });
    if let Err(e) = written {
        eprintln!("{input}: {e:#}");
        std::process::exit(1);
    }
}
