//! What the markers give.

use super::lines::tidy;
use super::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let mut constants = Constants::default();
    for (name, value) in [("ONE", 1u32), ("TWO", 2), ("NONE", 0)] {
        constants.set(name, value.into());
    }
    constants.set("ODD", vec![false, true].into());
    assert_eq!(expand(text, &constants), expected);
}

#[test]
fn loops_are_written_out() {
    check(
        "//# unroll\nfor (var i = 0u; i < TWO; i++) {\n    f(i, n + i * W, ii);\n}\n",
        "f(0u, n, ii);\nf(1u, n + W, ii);\n",
    );
    // What declares keeps braces; a comment is said once.
    check(
        "//# unroll\nfor (var i = 0u; i < 4u; i += TWO) {\n    // Of i.\n    let x = i;\n}\n",
        "{\n    // Of i.\n    let x = 0u;\n}\n{\n    let x = 2u;\n}\n",
    );
    let kept = "for (var i = first; i < ONE; i++) {\n    f(i);\n}\n";
    check(&format!("//# unroll if TWO == 1u\n{kept}"), kept);
    check(&format!("//# unroll if ONE == 1u\n{kept}"), "f(first);\n");
    check("//# unroll\nfor (var i = 0u; i < NONE; i++) {\n    f(i);\n}\n", "");
}

#[test]
fn branches_on_constants_are_taken() {
    let chain =
        "//# if\nif ONE == 2u {\n    a();\n} else if ODD[ONE] {\n    b();\n} else {\n    c();\n}\nd();\n";
    check(chain, "b();\nd();\n");
    check(&chain.replace("ODD[ONE]", "ODD[0u]"), "c();\nd();\n");
    check("//# if\nif ODD[0u] {\n    a();\n}\n", "");
    let test = "if x < 2u {\n    a();\n}\n";
    check(&format!("//# unless ONE == 1u\n{test}"), "a();\n");
    check(&format!("//# unless ONE == 2u\n{test}"), test);
    check("//# when ODD[0u]\na();\n//# end\nb();\n", "b();\n");
}

#[test]
fn arrays_become_variables() {
    check(
        "//# registers\nvar a: array<vec4<f32>, TWO * ONE>;\na[ONE] = a[TWO - 2u] + ba[1u];\n",
        "var a_0 = vec4<f32>();\nvar a_1 = vec4<f32>();\na_1 = a_0 + ba[1u];\n",
    );
    check(
        "//# values\nvar a: array<f32, TWO>;\n{\n    a[1u] = 2.0;\n}\nf(a[1u]);\n",
        "{\n    let a_1 = 2.0;\n}\nf(a_1);\n",
    );
    check(
        "//# registers\nvar c: array<coop_mat16x16<f32, C>, ONE>;\n",
        "var c_0 = coop_mat16x16<f32, C>();\n",
    );
    // Sums of products are one expression; others are left.
    check("s += a * b;\ns += c[1] * d;\ns += e;\n", "s = s + a * b + c[1] * d;\ns += e;\n");
    check("s += a * b;\ns += s * c;\n", "s += a * b;\ns += s * c;\n");
    check("s += a * b;\nt += c * d;\ns += a - b;\n", "s += a * b;\nt += c * d;\ns += a - b;\n");
}

#[test]
fn lists_are_numbered() {
    check(
        "//# for r in TWO\nf_r0(R0_A, PR0_A, _r00);\n//# end\n",
        "f_r0(R0_A, PR0_A, _r00);\nf_r1(R1_A, PR0_A, _r00);\n",
    );
    check("//# for r in NONE\nf_r0();\n//# end\ng();\n", "g();\n");
    check(
        "const THREE = ONE + TWO;\n//# when THREE == 3u\nf();\n//# end\n",
        "const THREE = ONE + TWO;\nf();\n",
    );
}

#[test]
fn sums_of_nothing_are_left_out() {
    for (from, to) in [
        ("a[i + 0u]", "a[i]"),
        ("f(0u * W + x)", "f(x)"),
        ("(x + 0u) * W", "x * W"),
        ("f(x + 0u)", "f(x)"),
        ("x + 0u * W", "x"),
        ("x + 1u * W", "x + W"),
        ("x + 0u * W[y]", "x + 0u * W[y]"),
        ("x + 0u / W", "x + 0u / W"),
        ("10u * W", "10u * W"),
    ] {
        assert_eq!(tidy(from), to, "{from}");
    }
}

#[test]
#[should_panic(expected = "`unknown` is no constant number")]
fn what_is_no_constant_is_said() {
    check("//# unroll\nfor (var i = 0u; i < unknown; i++) {\n    f(i);\n}\n", "");
}

#[test]
fn elements_of_constant_lists_are_values() {
    check("f(ODD[ONE], x[ODD]);\n", "f(true, x[ODD]);\n");
}

/// What is declared in a block is not seen behind it.
#[test]
fn blocks_end() {
    let text = "//# registers\nvar a: array<f32, ONE>;\n//# unroll\nfor (var i = 0u; i < ONE; i++) {\n    //# values\n    var a: array<f32, ONE>;\n    a[i] = 1.0;\n}\na[0u] = 2.0;\n";
    check(text, "var a_0 = f32();\n{\n    let a_0 = 1.0;\n}\na_0 = 2.0;\n");
    check(
        "//# unroll\nfor (var i = 0u; i < ONE; i++) {\n    f(vec2<u32>(n + i));\n}\n",
        "f(vec2<u32>(n));\n",
    );
}

#[test]
#[should_panic(expected = "`//# unroll` before `for (var i = first")]
fn a_loop_without_a_constant_start_is_not_unrolled() {
    check("//# unroll\nfor (var i = first; i < ONE; i++) {\n    f(i);\n}\n", "");
}

#[test]
#[should_panic(expected = "`//# unless` before `if x {`")]
fn a_chain_has_no_test_to_leave_out() {
    check("//# unless ONE == 1u\nif x {\n    f();\n} else {\n    g();\n}\n", "");
}
