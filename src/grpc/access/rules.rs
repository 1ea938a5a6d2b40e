//! The rule of each method: open, for any identity, or decided on its request.

/// How access to a method is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anyone may call it.
    Open,
    /// Any identity may call it, but no anonymous caller.
    Identity,
    /// Its service decides on the parsed request.
    Request,
}

/// The rules, by method.
const RULES: [(&str, Rule); 23] = [
    ("twintier.v1.CacheService/Get", Rule::Request),
    ("twintier.v1.CacheService/Set", Rule::Request),
    ("twintier.v1.CacheService/Invalidate", Rule::Request),
    ("twintier.v1.CacheService/Touch", Rule::Request),
    ("twintier.v1.CacheService/ReleaseLease", Rule::Request),
    ("twintier.v1.CacheService/BatchGet", Rule::Request),
    ("twintier.v1.CacheService/BatchSet", Rule::Request),
    ("twintier.v1.CacheService/BatchInvalidate", Rule::Request),
    ("twintier.v1.CacheService/Watch", Rule::Request),
    ("twintier.v1.CacheService/Stats", Rule::Request),
    ("twintier.v1.AdminService/Inspect", Rule::Request),
    ("twintier.v1.AdminService/HotKeys", Rule::Request),
    ("twintier.v1.AdminService/ExportEntries", Rule::Request),
    ("twintier.v1.AdminService/ListPolicies", Rule::Request),
    ("twintier.v1.AdminService/SetPolicy", Rule::Request),
    ("twintier.v1.AdminService/ResetPolicy", Rule::Request),
    ("twintier.v1.AdminService/Drain", Rule::Request),
    ("twintier.v1.AdminService/ResetStats", Rule::Request),
    ("twintier.v1.AdminService/SetLogLevel", Rule::Request),
    ("grpc.health.v1.Health/Check", Rule::Open),
    ("grpc.health.v1.Health/Watch", Rule::Open),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Rule::Identity),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Rule::Identity),
];

/// Returns the rule of the method at this path. `None` for an unknown method, which is not served.
pub fn rule_of(path: &str) -> Option<Rule> {
    let name = path.strip_prefix('/')?;
    RULES.iter().find(|(method, _)| *method == name).map(|(_, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::method_names::full_method_names;

    #[test]
    fn every_method_of_the_descriptors_has_a_rule() {
        let methods: Vec<_> = full_method_names().collect();
        for method in &methods {
            assert!(rule_of(&format!("/{method}")).is_some(), "{method} has no rule: decide who may call it");
        }
        assert_eq!(methods.len(), RULES.len(), "a rule is of no method");
        assert_eq!(rule_of("/twintier.v1.CacheService/Other"), None);
    }
}
