//! C and C++ programs against the library as `install.sh` installs it: they compile without a warning, run under AddressSanitizer and
//! UBSan, and compute what the Rust library computes. Needs `cc`, `c++` and `pkg-config`.
#![cfg(target_os = "linux")]

use rmnet::images::{self, ColorMode, Orientation};
use rmnet::{Device, ImageView, Options, Outcome, Session, adapters};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits");
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
const SEVEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits/images/0374_7.png");

/// Every warning is an error; what is wrong with memory or arithmetic ends the program.
const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Werror", "-pedantic"];
const SANITIZERS: &[&str] = &["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    output
}

/// The folder that the library is installed in, from what cargo has built for this test.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let test = std::env::current_exe().expect("a path");
        let built = test.parent().expect("target/PROFILE/deps");
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rmnet-c");
        done(Command::new("bash").arg(Path::new(ROOT).join("install.sh")).arg(&prefix).arg(built));
        prefix
    })
}

fn pkg_config(args: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(args).arg("rmnet").env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
    let text = String::from_utf8(done(&mut command).stdout).expect("text");
    text.split_whitespace().map(String::from).collect()
}

/// Compiles and links a program in C as a user does, with the sanitizers.
fn compiled(source: &str) -> PathBuf {
    compiled_by("cc", "-std=c99", source)
}

fn compiled_by(compiler: &str, standard: &str, source: &str) -> PathBuf {
    let source = Path::new(ROOT).join(source);
    let folder = prefix().join("bin");
    std::fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join(source.file_stem().expect("a name"));
    let mut command = Command::new(compiler);
    command.args([standard, "-pthread"]).args(WARNINGS).args(SANITIZERS);
    command.arg(&source).arg("-o").arg(&program).args(pkg_config(&["--cflags", "--libs"])).arg("-lm");
    done(&mut command);
    program
}

/// A program of these arguments, ready to run. Drivers leak, so that leaks are looked for on the CPU only.
fn program(path: &Path, args: &[&str], leaks: bool) -> Command {
    let mut command = Command::new(path);
    command
        .args(args)
        .env("LD_LIBRARY_PATH", prefix().join("lib"))
        .env("ASAN_OPTIONS", format!("detect_leaks={}", u8::from(leaks)))
        .env("UBSAN_OPTIONS", "print_stacktrace=1");
    command
}

/// Hides the drivers of Vulkan.
fn without_drivers(command: &mut Command) -> &mut Command {
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        command.env(variable, "/no/such/driver.json");
    }
    command.env_remove("VK_ADD_DRIVER_FILES")
}

/// `cpu`, and the index of one adapter: other tests compute on all of them, and SwiftShader takes half a minute to start. The test command
/// says how many adapters it has set up.
fn devices() -> Vec<String> {
    let found = adapters();
    let usable: Vec<usize> = (0..found.len()).filter(|i| found[*i].problem.is_none()).collect();
    if let Ok(wanted) = std::env::var("RMNET_TEST_ADAPTERS") {
        let wanted: usize = wanted.parse().expect("a number");
        assert!(usable.len() >= wanted, "{} of {wanted} adapters found", usable.len());
    }
    let slow = |i: &&usize| found[**i].name.contains("SwiftShader");
    let chosen = usable.iter().find(|i| !slow(i)).or(usable.first());
    ["cpu".to_string()].into_iter().chain(chosen.map(ToString::to_string)).collect()
}

/// What `report.c` prints, from the Rust library.
fn report(device: &str) -> String {
    let device: Device = device.parse().expect("a device");
    let session = Session::open(DIGITS, &Options::default().device(device)).expect("a session");
    let mut text = format!(
        "family {}\ndevice {}\ngpu {}\ninput {:?}\noutput {:?} 0\n",
        session.family(),
        session.device_name(),
        u8::from(session.is_on_gpu()),
        session.input_shape(),
        session.output_shape()
    );
    let mut line = |what: &str, words: &dyn std::fmt::Display| {
        writeln!(text, "{what} {words}").expect("a text");
    };
    session.labels().expect("labels").iter().for_each(|label| line("label", label));
    for block in session.blocks() {
        let removed = u8::from(!matches!(block.outcome, Outcome::Kept { .. }));
        line("block", &format!("{} {} {removed}", block.block, block.outcome));
    }
    session.passed_over().iter().for_each(|adapter| line("passed over", adapter));
    session.assumed().iter().for_each(|assumed| line("assumed", assumed));
    line("preprocess", session.preprocess());
    line("plan", session.plan());
    line("svg", &session.plan().to_svg());
    let file = std::fs::read(SEVEN).expect("an image");
    let image = images::decode(&file, ColorMode::Rgb, Orientation::Apply).expect("a PNG");
    let input = session.input_of(&[ImageView::from(&image)]).expect("an input");
    let logits = session.run(&input).expect("a run");
    // Nine digits tell every float from its neighbours.
    logits.iter().for_each(|logit| line("logit", &format!("{logit:e}")));
    for best in session.top_k(&logits, 3).expect("logits") {
        line("top", &format!("{} {}", best.class, best.label.expect("a label")));
    }
    text
}

/// The lines of a report, with logits as their bits.
fn lines(text: &str) -> Vec<String> {
    let logit = |line: &str| Some(line.strip_prefix("logit ")?.parse::<f32>().ok()?.to_bits());
    text.lines().map(|line| logit(line).map_or(line.into(), |bits| format!("logit {bits:x}"))).collect()
}

#[test]
fn a_session_says_and_computes_what_it_does_in_rust() {
    let path = compiled("tests/programs/report.c");
    for device in devices() {
        let output = done(&mut program(&path, &[DIGITS, SEVEN, &device], device == "cpu"));
        let found = String::from_utf8(output.stdout).expect("UTF-8");
        let (found, expected) = (lines(&found), lines(&report(&device)));
        assert_eq!(found, expected, "on {device}");
        assert!(found.len() > 40, "{found:?}");
    }
}

#[test]
fn the_example_reads_every_digit() {
    let path = compiled("examples/classify.c");
    let mut files: Vec<_> = std::fs::read_dir(Path::new(DIGITS).join("images"))
        .expect("images")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect();
    files.sort();
    for device in devices() {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let args = [&["--device", &device, DIGITS][..], &files].concat();
        let output = done(&mut program(&path, &args, device == "cpu"));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let shown: Vec<&str> = text.lines().collect();
        assert_eq!(shown.len(), 1 + 6 * files.len(), "{text}");
        for image in shown[1..].chunks(6) {
            // ../0374_7.png, then `100.000 %  class 7  7`
            let digit = image[0].trim_end_matches(".png").chars().last();
            assert_eq!(image[1].chars().last(), digit, "{image:?}");
        }
    }
    // An image that cannot be read is reported, and the others go on.
    let output =
        program(&path, &["--device", "cpu", DIGITS, "no such image", SEVEN], true).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("no such image: "), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("class 7"), "{output:?}");
    for (args, code) in
        [(&["no such file", SEVEN][..], 3), (&[], 2), (&["--device", "no card", DIGITS, SEVEN], 4)]
    {
        assert_eq!(
            program(&path, args, false).output().expect("it runs").status.code(),
            Some(code),
            "{args:?}"
        );
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let path = compiled("tests/programs/refusals.c");
    let output = done(without_drivers(&mut program(&path, &[DIGITS, SEVEN], true)));
    assert_eq!(output.stdout, b"refused\n");
}

#[test]
fn threads_share_a_session_and_the_log_has_a_callback() {
    let path = compiled("tests/programs/threads.c");
    let pickle = Path::new(FIXTURES).join("pickles/zip_protocol2.pth").display().to_string();
    let output = done(without_drivers(&mut program(&path, &[DIGITS, &pickle], true)));
    assert_eq!(output.stdout, b"in parallel\n");
}

#[test]
fn options_are_heeded() {
    let path = compiled("tests/programs/options.c");
    let fixture = |name: &str| Path::new(FIXTURES).join(name).display().to_string();
    let args = [DIGITS, &fixture("iresnet"), &fixture("tv_mobilenet_v2")];
    let output = done(without_drivers(&mut program(&path, &args, true)));
    assert_eq!(output.stdout, b"heeded\n");
}

#[test]
fn the_results_of_self_tests_are_kept() {
    let path = compiled("tests/programs/self_tests.c");
    for device in devices() {
        let record = prefix().join("self-tests.json");
        // Of an earlier run of this test.
        let _ = std::fs::remove_file(&record);
        let args = [DIGITS, &device, &record.display().to_string()];
        let output = done(&mut program(&path, &args, device == "cpu"));
        assert_eq!(output.stdout, b"kept\n", "on {device}");
    }
}

#[test]
fn a_forked_process_is_refused() {
    let path = compiled("tests/programs/fork.c");
    let output = done(without_drivers(&mut program(&path, &[DIGITS], true)));
    assert_eq!(output.stdout, b"forked\n");
}

#[test]
fn a_program_in_cpp_computes() {
    let path = compiled_by("c++", "-std=c++11", "tests/programs/include.cpp");
    let output = done(without_drivers(&mut program(&path, &[DIGITS, SEVEN], true)));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("class 7, no such file"), "{text}");
}

/// Whether a compiler knows a standard, which some are too old for.
fn knows(compiler: &str, standard: &str, source: &Path) -> bool {
    let output = Command::new(compiler).args([standard, "-fsyntax-only"]).arg(source).output();
    output.expect("it runs").status.success()
}

#[test]
fn the_header_is_c99_and_cpp11_and_later() {
    let cflags = pkg_config(&["--cflags"]);
    let check = |compiler: &str, standard: &str, source: &Path| {
        let mut command = Command::new(compiler);
        command.args([standard, "-fsyntax-only", "-Wconversion", "-Wshadow"]).args(WARNINGS).args(&cflags);
        done(command.arg(source));
    };
    let empty = prefix().join("empty.c");
    std::fs::write(&empty, "int unused;\n").expect("a file");
    for standard in ["-std=c++11", "-std=c++17", "-std=c++20"] {
        check("c++", standard, &Path::new(ROOT).join("tests/programs/include.cpp"));
    }
    // The example of the README, and the header alone.
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).expect("a README");
    let example =
        readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    for (name, text) in [("readme.c", example), ("alone.c", "#include <rmnet.h>\nint unused;\n")] {
        let source = prefix().join(name);
        std::fs::write(&source, text).expect("a file");
        check("cc", "-std=c99", &source);
        check("cc", "-std=c17", &source);
        let latest = ["-std=c23", "-std=c2x"].into_iter().find(|standard| knows("cc", standard, &empty));
        if let Some(standard) = latest {
            check("cc", standard, &source);
        }
    }
}

/// What `pkg-config --static` says is all that the static library needs.
#[test]
fn a_program_links_the_static_library() {
    let (path, library) = (prefix().join("classify_static"), prefix().join("lib/librmnet.a"));
    let libraries = pkg_config(&["--libs", "--static"]);
    let mut command = Command::new("cc");
    command.arg(Path::new(ROOT).join("examples/classify.c")).args(pkg_config(&["--cflags"]));
    command.arg(library).args(libraries.iter().filter(|flag| *flag != "-lrmnet")).arg("-o").arg(&path);
    done(&mut command);
    let output = done(Command::new(&path).args(["--device", "cpu", DIGITS, SEVEN]));
    assert!(String::from_utf8_lossy(&output.stdout).contains("class 7"), "{output:?}");
}
