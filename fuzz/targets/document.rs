#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| konverse_testkit::probe::document(input));
