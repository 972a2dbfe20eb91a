//! Each rule is broken once here, and kept once.

use super::source::blank;
use super::{Source, Violation, edges, lengths, names, rpcs, text, unsafe_code};

fn lines(found: &[Violation]) -> Vec<usize> {
    found.iter().map(|violation| violation.line).collect()
}

#[test]
fn comments_and_strings_are_not_code() {
    for (given, expected) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("unsafe \" x") g"#, r#"f("           ") g"#),
        ("r#\"a\"b\"# c r#type", "         c r#type"),
        ("br\"x\" '\"' 'a ", "b     ' ' 'a "),
        ("'\\'' x", "'  ' x"),
    ] {
        assert_eq!(blank(given), expected, "{given}");
    }
}

#[test]
fn a_function_is_as_long_as_from_its_fn_to_its_brace() {
    let body = |lines: usize| {
        format!("//! x\nfn f(a: [u8; 4]) -> Vec<u8>\nwhere\n    A: B,\n{{\n{}}}\n", "    x();\n".repeat(lines))
    };
    let (short, long) = (body(65), body(66));
    assert!(lengths::violations(&Source::new("crates/a/src/b.rs", &short)).is_empty());
    assert_eq!(lines(&lengths::violations(&Source::new("crates/a/src/b.rs", &long))), [2]);
    assert!(lengths::violations(&Source::new("crates/a/src/b/tests.rs", &long)).is_empty());
}

#[test]
fn types_and_traits_have_no_function_bodies() {
    let code = "trait T {\n    fn a(&self, x: u8);\n}\ntype F = fn(u8) -> u8;\nstruct S {\n    call: fn(u8),\n    other: u8,\n}";
    let code: Vec<String> = code.lines().map(str::to_owned).collect();
    assert_eq!(lengths::functions(&code), []);
}

#[test]
fn files_and_programs_have_a_length() {
    let content = "//! x\n".repeat(201);
    assert!(lengths::violations(&Source::new("crates/a/src/lib.rs", &content)).is_empty());
    assert_eq!(lines(&lengths::violations(&Source::new("crates/a/src/main.rs", &content))), [0]);
    assert_eq!(lines(&lengths::violations(&Source::new("crates/a/src/lib.rs", &"//! x\n".repeat(601)))), [0]);
}

#[test]
fn unsafe_code_needs_a_reason_and_a_home() {
    let explained = "//! x\n// SAFETY: the pointer is ours.\nlet a =\n    unsafe { f() };\n";
    let bare = "//! x\n// SAFETY: of another.\nlet a = unsafe { f() };\nlet b = unsafe { f() };\n";
    assert!(unsafe_code::violations(&Source::new("crates/sys/src/a.rs", explained)).is_empty());
    assert_eq!(lines(&unsafe_code::violations(&Source::new("crates/sys/src/a.rs", bare))), [4]);
    assert_eq!(lines(&unsafe_code::violations(&Source::new("crates/shim/src/a.rs", explained))), [4]);
    let named = "//! x\n#![deny(unsafe_code)] // unsafe\nlet a = \"unsafe\";\n";
    assert!(unsafe_code::violations(&Source::new("crates/shim/src/a.rs", named)).is_empty());
}

#[test]
fn unfinished_code_and_missing_heads_are_found() {
    let content = "fn f() {\n    todo!();\n    g().unwrap();\n    h().expect(\"x\");\n}\n#[cfg(test)]\nmod tests {\n    fn t() {\n        g().unwrap();\n    }\n}\n";
    let source = Source::new("crates/a/src/b.rs", content);
    assert_eq!(lines(&source.violations()), [1, 2, 3, 4]);
    assert!(source.is_test(8));
}

#[test]
fn tests_in_another_file_do_not_make_this_one_a_test() {
    let content = "//! x\n#[cfg(test)]\nmod tests;\nfn f() {\n    g().unwrap();\n}\n#[cfg(test)]\nmod more {\n    g().unwrap();\n}\n";
    assert_eq!(lines(&Source::new("crates/a/src/b.rs", content).violations()), [5]);
}

#[test]
fn drawers_for_anything_are_no_names() {
    assert!(names::violations("crates/a/src/utils.rs").is_some());
    assert!(names::violations("crates/common/src/lib.rs").is_some());
    assert!(names::violations("crates/a/src/mount.rs").is_none());
}

#[test]
fn marks_of_unfinished_work_and_foreign_places_are_found() {
    let content = concat!("ok\n# TO", "DO later\nMASTODON_", "TO", "DOX\ncat /wo", "rk/dev/x\nlowerdir/work\n");
    assert_eq!(lines(&text::violations("a.sh", content)), [2, 4]);
    assert!(text::violations("Cargo.lock", content).is_empty());
}

#[test]
fn edges_are_compared_both_ways() -> anyhow::Result<()> {
    let page = "x\n```edges\nsys ->\nengine -> sys domain\ngone ->\n```\n";
    let allowed = edges::parse(page)?;
    let manifest = "[dependencies]\ncradle-sys.workspace = true\ncradle-images.workspace = true\nserde = \"1\"\n[dev-dependencies]\ncradle-testkit.workspace = true\n[target.'cfg(unix)'.dependencies]\ncradle-testkit = { path = \"x\" }\n";
    let real = edges::Edges::from([
        ("sys".to_owned(), edges::dependencies("[package]\nname = \"x\"")?),
        ("engine".to_owned(), edges::dependencies(manifest)?),
        ("new".to_owned(), Default::default()),
    ]);
    let found: Vec<String> = edges::violations(&allowed, &real).iter().map(ToString::to_string).collect();
    for part in [
        "engine -> images is not",
        "engine -> testkit is not",
        "engine -> domain is listed",
        "for [dev-dep",
        "gone has",
        "crates/new",
    ] {
        assert!(found.iter().any(|line| line.contains(part)), "{part}: {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(
        edges::violations(&edges::parse("```edges\nsys ->\n```")?, &[("sys".to_owned(), Default::default())].into())
            .is_empty()
    );
    assert!(edges::parse("no block").is_err());
    Ok(())
}

#[test]
fn the_page_tells_of_every_rpc_what_the_code_does() {
    let (told_there, told_missing) =
        rpcs::told("| RPC | |\n|---|---|\n| Version, Gone | yes |\n| Exec | answers UNIMPLEMENTED |\n");
    let told = rpcs::Rpcs {
        published: rpcs::published(
            "rpc r.v1.S.Version r.v1.A r.v1.B\nrpc r.v1.S.Exec x y\nrpc r.v1.S.Attach x y\nfield a b\n",
        ),
        missing: rpcs::missing("        exec(A) -> B, \"Exec\";\n        attach(A)\n            -> B, \"Attach\";\n"),
        told_there,
        told_missing,
    };
    let found: Vec<String> = rpcs::violations(&told).iter().map(|violation| violation.message.clone()).collect();
    assert_eq!(found, ["Gone does not do what is said: is there", "say that Attach answers UNIMPLEMENTED"]);
}
