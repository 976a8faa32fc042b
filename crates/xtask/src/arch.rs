//! Which crate may use which: the table, and the check that every `Cargo.toml` keeps to it.
//!
//! Looks at normal and build dependencies as the manifests declare them, optional and per-target ones included. Tests
//! may use what they like, so dev-dependencies are no arrows; a dependency that is declared both ways counts.
//! What a crate reaches through another one is not looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Each package of the workspace, and those of the workspace it may depend on.
#[rustfmt::skip]
const MAY_USE: &[(&str, &[&str])] = &[
    ("konverse-model",          &[]),
    ("konverse-store",          &["konverse-model"]),
    ("konverse-store-sql",      &["konverse-model", "konverse-store"]),
    ("konverse-store-sqlite",   &["konverse-model", "konverse-store", "konverse-store-sql"]),
    ("konverse-store-postgres", &["konverse-model", "konverse-store", "konverse-store-sql"]),
    ("konverse-search",         &["konverse-model", "konverse-store"]),
    ("konverse-domain",         &["konverse-model", "konverse-store", "konverse-search"]),
    ("konverse-api",            &["konverse-model", "konverse-domain"]),
    ("konverse-jobs",           &["konverse-model", "konverse-store", "konverse-domain"]),
    ("konverse-feed",           &["konverse-model", "konverse-store", "konverse-search", "konverse-jobs"]),
    // What may know everything lists its exceptions.
    ("konverse",                &[ALL_BUT, "konverse-testkit", "konverse-harness", "konverse-bench", "konverse-trials", "xtask"]),
    ("konverse-testkit",        &[ALL_BUT, "konverse-bench", "konverse-trials", "xtask"]),
    ("konverse-bench",          &[ALL_BUT, "konverse-trials", "xtask"]),
    ("konverse-trials",         &["konverse-harness"]),
    ("konverse-harness",        &[]),
    ("xtask",                   &[]),
];

const ALL_BUT: &str = "everything but";

/// Packages from outside, and the packages of the workspace that exist to be free of them.
#[rustfmt::skip]
const NEVER_USE: &[(&[&str], &[&str])] = &[
    (&["konverse-model", "konverse-store", "konverse-domain", "konverse-search", "konverse-jobs", "konverse-feed", "konverse-api"], &["rusqlite", "tokio-postgres", "deadpool-postgres"]),
    (&["konverse-model", "konverse-store", "konverse-search", "konverse-domain", "konverse-jobs", "konverse-feed"], &["axum", "hyper"]),
];

/// The folders of `domain`, from what everything rests on to what rests on everything, and those each may use. What is
/// exported at the root (`crate::Domain`, `crate::Actor`) is everybody's.
#[rustfmt::skip]
const DOMAIN: &[(&str, &[&str])] = &[
    ("error",         &[]),
    ("ids",           &[]),
    ("readiness",     &[]),
    ("unit",          &[]),
    ("access",        &["unit"]),
    ("metadata",      &["unit", "access"]),
    ("directory",     &["unit", "access", "metadata"]),
    ("timeline",      &["unit", "directory"]),
    ("customers",     &["unit", "access", "directory", "timeline"]),
    ("conversations", &["unit", "access", "directory", "timeline"]),
    ("messages",      &["unit", "access", "directory", "timeline"]),
    ("notes",         &["unit", "access", "directory", "timeline", "messages"]),
    ("lists",         &["access", "customers"]),
    ("search",        &["access"]),
    ("render",        &["unit", "directory"]),
    ("intake",        &["unit", "directory", "metadata", "timeline"]),
    ("check",         &["unit", "directory", "timeline", "customers"]),
];

const DOMAIN_SOURCE: &str = "crates/domain/src";

/// Asks cargo about the workspace of the current directory and reads the source of `domain`; the answer is a sentence for
/// people, the error names every forbidden arrow.
pub(crate) fn check() -> Result<String> {
    let packages = read_workspace()?;
    let files = read_source(Path::new(DOMAIN_SOURCE))?;
    let mut violations = violations(&packages);
    violations.extend(folder_violations(&files));
    if !violations.is_empty() {
        bail!("crates/xtask/src/arch.rs does not allow:\n  {}", violations.join("\n  "));
    }
    Ok(format!(
        "arch: the dependencies of {} packages and of {} folders in domain are as the tables say",
        packages.len(),
        DOMAIN.len()
    ))
}

/// A source file: the folder (or the file's name) right below the root, and its text.
type SourceFile = (String, String);

fn read_source(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(root).context("a file outside of its root")?;
                let first = inside.iter().next().and_then(|first| first.to_str()).context("a name that is no text")?;
                files.push((first.trim_end_matches(".rs").to_owned(), fs::read_to_string(&path)?));
            }
        }
    }
    Ok(files)
}

fn folder_violations(files: &[SourceFile]) -> Vec<String> {
    let mut violations = BTreeSet::new();
    for (folder, text) in files.iter().filter(|(folder, _)| folder != "lib") {
        let Some((_, may_use)) = DOMAIN.iter().find(|(name, _)| name == folder) else {
            violations.insert(format!("domain/{folder}, because the table has no line for it"));
            continue;
        };
        for used in modules_used(text).filter(|used| used != folder && !may_use.contains(&&**used)) {
            violations.insert(format!("domain/{folder} -> domain/{used}"));
        }
    }
    violations.into_iter().collect()
}

/// The modules of the crate that a text names: `crate::unit::…`, also in `use crate::{access, unit::Draft}`. Names in
/// capitals are exports of the root.
fn modules_used(text: &str) -> impl Iterator<Item = String> {
    let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let code = code.collect::<Vec<_>>().join(" ");
    let mut used = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => {
                let (mut depth, mut start) = (0, 0);
                for (at, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' | ',' if depth == 0 => {
                            used.push(first_word(group[start..at].trim()));
                            start = at + 1;
                            if character == '}' {
                                break;
                            }
                        }
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
            None => used.push(first_word(rest)),
        }
    }
    used.into_iter().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    /// The package's own name, whatever the manifest calls it.
    name: String,
    only_for_tests: bool,
}

fn read_workspace() -> Result<Vec<Package>> {
    // Set by `cargo run`: the same cargo that runs this program.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    parse(&serde_json::from_slice(&output.stdout)?)
}

fn parse(metadata: &Value) -> Result<Vec<Package>> {
    array_at(metadata, "packages")?
        .iter()
        .map(|package| {
            let dependencies = array_at(package, "dependencies")?;
            Ok(Package {
                name: name_of(package)?,
                dependencies: dependencies.iter().map(parse_dependency).collect::<Result<_>>()?,
            })
        })
        .collect()
}

fn parse_dependency(dependency: &Value) -> Result<Dependency> {
    Ok(Dependency { name: name_of(dependency)?, only_for_tests: dependency["kind"] == "dev" })
}

fn name_of(value: &Value) -> Result<String> {
    Ok(value["name"].as_str().context("cargo metadata without a name")?.to_owned())
}

fn array_at<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo metadata without {key}"))
}

fn violations(packages: &[Package]) -> Vec<String> {
    let mut violations = Vec::new();
    for package in packages {
        let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
            violations.push(format!("{}, because the table has no line for it", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.only_for_tests) {
            let in_workspace = packages.iter().any(|other| other.name == dependency.name);
            let allowed = if in_workspace {
                may_use_names(may_use, &dependency.name)
            } else {
                !is_kept_out(&package.name, &dependency.name)
            };
            if !allowed {
                violations.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    violations
}

fn may_use_names(may_use: &[&str], dependency: &str) -> bool {
    match may_use {
        [ALL_BUT, exceptions @ ..] => !exceptions.contains(&dependency),
        names => names.contains(&dependency),
    }
}

fn is_kept_out(package: &str, dependency: &str) -> bool {
    NEVER_USE.iter().any(|(packages, outside)| packages.contains(&package) && outside.contains(&dependency))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A dependency's name and kind, as `cargo metadata` has them.
    type Declared = (&'static str, Option<&'static str>);

    fn violations_of(packages: &[(&str, &[Declared])]) -> Vec<String> {
        let packages = packages.iter().map(|(name, dependencies)| {
            let dependencies = dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind }));
            json!({ "name": name, "dependencies": dependencies.collect::<Vec<_>>() })
        });
        violations(&parse(&json!({ "packages": packages.collect::<Vec<_>>() })).expect("parses"))
    }

    #[test]
    fn arrows_of_the_table_are_allowed() {
        let found = violations_of(&[
            ("konverse-model", &[("serde", None)]),
            ("konverse-store", &[("konverse-model", None)]),
            ("konverse-store-sqlite", &[("konverse-store", None), ("rusqlite", None)]),
            ("konverse-api", &[("konverse-model", None), ("axum", None)]),
            ("konverse", &[("konverse-api", None), ("konverse-store-sqlite", None)]),
            ("konverse-testkit", &[("konverse", None), ("tokio-postgres", None)]),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn forbidden_arrows_are_found() {
        let found = violations_of(&[
            ("konverse-model", &[("konverse-store", None)]),
            ("konverse-store", &[("konverse-model", None), ("konverse-domain", Some("build"))]),
            ("konverse-domain", &[("konverse-api", None)]),
            ("konverse-api", &[("konverse-store", None)]),
            ("konverse", &[("konverse-testkit", None)]),
            ("konverse-testkit", &[("konverse-bench", None)]),
            ("konverse-bench", &[("xtask", None)]),
            ("xtask", &[("konverse-model", None)]),
        ]);
        assert_eq!(
            found,
            [
                "konverse-model -> konverse-store",
                "konverse-store -> konverse-domain",
                "konverse-domain -> konverse-api",
                "konverse-api -> konverse-store",
                "konverse -> konverse-testkit",
                "konverse-testkit -> konverse-bench",
                "konverse-bench -> xtask",
                "xtask -> konverse-model",
            ]
        );
    }

    #[test]
    fn tests_may_use_what_they_like() {
        let found = violations_of(&[
            ("konverse-model", &[("konverse-testkit", Some("dev")), ("rusqlite", Some("dev"))]),
            ("konverse-testkit", &[]),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_dev_dependency_does_not_hide_a_forbidden_arrow() {
        let found = violations_of(&[
            ("konverse-model", &[("konverse-testkit", Some("dev")), ("konverse-testkit", None)]),
            ("konverse-testkit", &[]),
        ]);
        assert_eq!(found, ["konverse-model -> konverse-testkit"]);
    }

    #[test]
    fn drivers_and_http_stay_out_of_the_inner_crates() {
        let found = violations_of(&[
            ("konverse-domain", &[("axum", None), ("rusqlite", None)]),
            ("konverse-api", &[("axum", None), ("tokio-postgres", None)]),
        ]);
        assert_eq!(found, ["konverse-domain -> axum", "konverse-domain -> rusqlite", "konverse-api -> tokio-postgres"]);
    }

    #[test]
    fn the_table_of_folders_has_one_direction() {
        for (n, (folder, may_use)) in DOMAIN.iter().enumerate() {
            for used in *may_use {
                assert!(DOMAIN[..n].iter().any(|(earlier, _)| earlier == used), "{folder} -> {used}");
            }
        }
    }

    #[test]
    fn folders_of_domain_use_what_they_rest_on() {
        let files = |files: &[(&str, &str)]| {
            let files = files.iter().map(|(folder, text)| ((*folder).to_owned(), (*text).to_owned()));
            folder_violations(&files.collect::<Vec<_>>())
        };
        let allowed = [
            ("lib", "pub use crate::intake::Importer;"),
            (
                "timeline",
                "use crate::directory::{Author, References};\nuse crate::{Actor, Domain, unit::{Draft, needed}};",
            ),
            ("unit", "//! What crate::timeline does with it.\nuse super::draft;\nuse crate::{Domain, DomainError};"),
        ];
        assert_eq!(files(&allowed), Vec::<String>::new());
        let forbidden = [
            ("unit", "fn f() { crate::timeline::not_ahead() }"),
            ("access", "use crate::{Domain, lists::{Page}, unit::Draft};"),
            ("cache", "use crate::Domain;"),
        ];
        assert_eq!(
            files(&forbidden),
            [
                "domain/access -> domain/lists",
                "domain/cache, because the table has no line for it",
                "domain/unit -> domain/timeline"
            ]
        );
    }

    #[test]
    fn a_package_the_table_does_not_name_is_found() {
        assert_eq!(violations_of(&[("konverse-web", &[])]), ["konverse-web, because the table has no line for it"]);
    }
}
