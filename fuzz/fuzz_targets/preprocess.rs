#![no_main]

libfuzzer_sys::fuzz_target!(init: rmnet_fuzz::start(), |data: &[u8]| rmnet_fuzz::preprocess(data));
