#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::upstream::fuzzed::words(data));
