#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| konverse_fuzz::ask(async |probe| probe.write(input).await));
