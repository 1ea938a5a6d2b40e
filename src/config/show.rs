//! Output of `config show`: the configuration in force, as text or JSON.

use super::setting::Setting;

/// Formats a line per setting: path, value and origin. As JSON: one object by path.
pub fn show(settings: &[Setting], json: bool) -> String {
    if json {
        let objects = settings.iter().map(|setting| {
            let origin = setting.origin.to_string();
            (setting.path.clone(), serde_json::json!({ "value": setting.value, "origin": origin }))
        });
        return format!("{:#}\n", serde_json::Value::Object(objects.collect()));
    }
    let width = settings.iter().map(|setting| setting.path.len()).max().unwrap_or(0);
    let values =
        settings.iter().map(|setting| setting.value.as_deref().unwrap_or("-").len()).max().unwrap_or(0).min(40);
    let line = |setting: &Setting| {
        let value = setting.value.as_deref().unwrap_or("-");
        format!("{:width$}  {value:values$}  {}\n", setting.path, setting.origin)
    };
    settings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::config::Config;
    use crate::config::sources::Sources;

    #[test]
    fn every_setting_is_shown_with_its_origin_and_no_secret() {
        let environment = [("REDIS_URL".to_owned(), "redis://:hunter2@localhost".to_owned())].into();
        let loaded = Config::load(&Sources { environment, ..Sources::default() }).expect("valid");
        for json in [false, true] {
            let shown = super::show(&loaded.settings, json);
            assert!(shown.contains("l1.size") && shown.contains("environment REDIS_URL"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
