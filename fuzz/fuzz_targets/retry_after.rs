#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::upstream::fuzzed::retry_after(data));
