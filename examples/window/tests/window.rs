//! The window on a virtual screen, with the software driver of the tests.

use std::process::Command;

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "Xvfb is X11's")]
fn a_window_never_waits_for_the_network() {
    // Chromium's SwiftShader cannot draw on windows of X11: it crashes.
    let drivers = std::env::var("VK_DRIVER_FILES").unwrap_or_default();
    let drivers: Vec<&str> = drivers.split(':').filter(|file| !file.contains("swiftshader")).collect();
    let mut command = Command::new("timeout");
    if drivers.concat().is_empty() {
        command.env_remove("VK_DRIVER_FILES");
    } else {
        command.env("VK_DRIVER_FILES", drivers.join(":"));
    }
    let output = command
        .args(["120", "xvfb-run", "-a", env!("CARGO_BIN_EXE_rmnet-window"), "--frames", "120"])
        .output()
        .expect("xvfb-run, of the package xvfb");
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{log}");
    let number = |before: &str, after: &str| -> f64 {
        let from = text.find(before).unwrap_or_else(|| panic!("no `{before}` in {text}")) + before.len();
        let number = text[from..].split(after).next().expect("a part");
        number.trim().parse().unwrap_or_else(|e| panic!("{number}: {e}"))
    };
    let (classified, skipped) = (number("120 frames: ", "classified"), number("classified, ", "while"));
    assert!(classified + skipped == 120.0 && classified >= 64.0, "{text}");
    assert!(text.contains("the last 64 classes are those of single runs"), "{text}");
    // Drawing and classifying takes the software GPU several times what it takes to ask for it.
    let (between, own) = (number("from frame to frame: median", "ms"), number("app's thread: median", "ms"));
    assert!(own < between / 2.0, "{text}");
}
