//! Completions for shells, and manual pages.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use twintier::cli::Cli;

use crate::process::{CommandResult, run, twintier};

fn completions(shell: &str) -> String {
    run(&mut twintier(&["completions", shell]), b"").assert_exit(0).text().to_owned()
}

fn bash(script: &str) -> CommandResult {
    run(Command::new("bash").args(["--norc", "--noprofile", "-c", script]), b"")
}

/// Returns the words that bash offers after this command line.
fn offered(script: &Path, line: &str) -> Vec<String> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if line.ends_with(' ') {
        words.push("");
    }
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let (last, before) = (words.len() - 1, words.len().checked_sub(2).map_or("", |index| words[index]));
    let script = format!(
        "source '{}'\ncompopt() {{ :; }}\nCOMP_WORDS=({})\nCOMP_CWORD={last}\nfunction=$(complete -p twintier | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n\
         \"$function\" twintier '{}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        quoted.join(" "),
        words[last],
    );
    bash(&script).assert_exit(0).text().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("twintier.bash");
    std::fs::write(&script, completions("bash")).unwrap();
    assert_eq!(bash(&format!("bash -n '{}'", script.display())).assert_exit(0).err, "");
    assert_eq!(offered(&script, "twintier ge"), ["get"]);
    assert_eq!(offered(&script, "twintier export --ab"), ["--absolute"]);
    assert_eq!(offered(&script, "twintier batch s"), ["set"]);
    assert_eq!(offered(&script, "twintier completions z"), ["zsh"]);
    let commands: BTreeSet<String> = offered(&script, "twintier ").into_iter().collect();
    for command in Cli::command().get_subcommands() {
        assert!(commands.contains(command.get_name()), "{} is not offered: {commands:?}", command.get_name());
    }
}

#[test]
fn every_shell_gets_a_script_with_all_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = completions(shell);
        for name in ["twintier", "get", "export", "hot-keys", "absolute"] {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    let refused = run(&mut twintier(&["completions", "csh"]), b"").assert_exit(2);
    assert!(refused.err.contains("csh") && refused.err.contains("powershell"), "{}", refused.err);
}

/// Returns the commands below one, with their flags: full name, and long flags.
fn commands(command: &clap::Command, found: &mut Vec<(String, BTreeSet<String>)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    found.push((name, shown.filter_map(|argument| argument.get_long()).map(str::to_owned).collect()));
    command.get_subcommands().for_each(|command| commands(command, found));
}

/// Removes each character that another one is printed over, as bold letters are.
fn without_overstrikes(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars() {
        if character == '\u{8}' {
            plain.pop();
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Formats a page as `man` shows it. Without `man`, removes the marks of its source.
fn shown(page: &Path) -> String {
    let mut man = Command::new("man");
    man.args(["--local-file", "--warnings=all", "--encoding=utf8"]).arg(page);
    man.envs([("MANWIDTH", "200"), ("LC_ALL", "C.UTF-8")]);
    if Command::new("groff").arg("--version").output().is_ok() && man.output().is_ok_and(|done| done.status.success()) {
        let done = man.output().unwrap();
        assert!(done.stderr.is_empty(), "{}: {}", page.display(), String::from_utf8_lossy(&done.stderr));
        return without_overstrikes(&String::from_utf8(done.stdout).unwrap());
    }
    std::fs::read_to_string(page).unwrap().replace("\\fB", "").replace("\\fR", "").replace("\\-", "-")
}

#[test]
fn the_manual_names_every_command_and_flag() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    run(&mut twintier(&["man", "--dir", pages.to_str().unwrap()]), b"").assert_exit(0);
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut expected = Vec::new();
    commands(&program, &mut expected);
    assert!(expected.len() > 30, "{} commands", expected.len());
    for (name, flags) in &expected {
        let text = shown(&pages.join(format!("{name}.1")));
        assert!(text.contains("NAME") && text.contains(name.as_str()), "{name}: {text}");
        for flag in flags {
            assert!(text.contains(&format!("--{flag}")), "{name} does not name --{flag}:\n{text}");
        }
    }
    let written = std::fs::read_dir(&pages).unwrap().count();
    assert_eq!(written, expected.len(), "a page is of no command");
}

#[test]
fn the_page_of_one_command_is_printed() {
    let page = |args: &[&str]| run(&mut twintier(&[&["man"], args].concat()), b"");
    assert!(page(&[]).assert_exit(0).text().contains(".TH twintier 1"));
    let set = page(&["batch", "set"]).assert_exit(0);
    assert!(set.text().contains(".TH twintier-batch-set 1"), "{}", set.text());
    let refused = page(&["batch", "unset"]).assert_exit(2);
    assert_eq!(refused.err, "error: COMMAND must be a command of twintier; was \"unset\"\n");
}
