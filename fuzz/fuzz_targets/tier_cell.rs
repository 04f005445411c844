#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::sealed::fuzzed::cell(data));
