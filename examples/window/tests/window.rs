//! The window on a virtual screen, with the software driver of the tests.

use std::process::Command;

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "Xvfb is X11's")]
fn every_frame_is_classified_without_a_stall() {
    // Chromium's SwiftShader cannot draw on windows of X11: it crashes.
    let drivers = std::env::var("VK_DRIVER_FILES").unwrap_or_default();
    let drivers: Vec<&str> = drivers.split(':').filter(|file| !file.contains("swiftshader")).collect();
    let mut command = Command::new("xvfb-run");
    if drivers.concat().is_empty() {
        command.env_remove("VK_DRIVER_FILES");
    } else {
        command.env("VK_DRIVER_FILES", drivers.join(":"));
    }
    let output = command
        .args(["-a", env!("CARGO_BIN_EXE_rmnet-window"), "--frames", "120"])
        .output()
        .expect("xvfb-run, of the package xvfb");
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{log}");
    println!("{text}");
    // Some frames may find all downloads under way; none is lost.
    let line = text.lines().find(|line| line.starts_with("120 frames, ")).expect("the frames");
    let classified: usize = line.split(' ').nth(2).expect("a number").parse().expect("a number");
    assert!(classified >= 30, "{text}");
    assert!(text.ends_with("every class is that of a single run on the same picture\n"), "{text}");
}
