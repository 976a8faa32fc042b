//! Which crate may use which: the table, and the check that every `Cargo.toml` keeps to it.
//!
//! Looks at normal and build dependencies as the manifests declare them, optional and per-target ones included. Tests
//! may use what they like, so dev-dependencies are no arrows; a dependency that is declared both ways counts.
//! What a crate reaches through another one is not looked at.

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
    ("konverse-domain",         &["konverse-model", "konverse-store"]),
    ("konverse-api",            &["konverse-model", "konverse-domain"]),
    ("konverse-jobs",           &["konverse-model", "konverse-store", "konverse-domain"]),
    ("konverse-feed",           &["konverse-model", "konverse-store", "konverse-jobs"]),
    // What may know everything lists its exceptions.
    ("konverse",                &[ALL_BUT, "konverse-testkit", "konverse-bench", "xtask"]),
    ("konverse-testkit",        &[ALL_BUT, "konverse-bench", "xtask"]),
    ("konverse-bench",          &[ALL_BUT, "xtask"]),
    ("xtask",                   &[]),
];

const ALL_BUT: &str = "everything but";

/// Packages from outside, and the packages of the workspace that exist to be free of them.
#[rustfmt::skip]
const NEVER_USE: &[(&[&str], &[&str])] = &[
    (&["konverse-model", "konverse-store", "konverse-domain", "konverse-jobs", "konverse-feed", "konverse-api"], &["rusqlite", "tokio-postgres", "deadpool-postgres"]),
    (&["konverse-model", "konverse-store", "konverse-domain", "konverse-jobs", "konverse-feed"],                 &["axum", "hyper"]),
];

/// Asks cargo about the workspace of the current directory; the answer is a sentence for people, the error names every forbidden arrow.
pub(crate) fn check() -> Result<String> {
    let packages = read_workspace()?;
    let violations = violations(&packages);
    if !violations.is_empty() {
        bail!("crates/xtask/src/arch.rs does not allow:\n  {}", violations.join("\n  "));
    }
    Ok(format!("arch: the dependencies of {} packages are as the table says", packages.len()))
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
    fn a_package_the_table_does_not_name_is_found() {
        assert_eq!(violations_of(&[("konverse-web", &[])]), ["konverse-web, because the table has no line for it"]);
    }
}
