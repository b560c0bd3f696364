//! The standard rules: secrets that are recognized by their form alone.
//!
//! A rule belongs here if the issuer defines the form (a prefix, a length), so that other text hardly ever
//! matches: a redacted text cannot be restored. Passwords, which can be any word, are for a patterns file. The
//! forms are those that the issuers document, or that their keys are seen to have.

use std::sync::LazyLock;

use data_encoding::{BASE64_NOPAD, Encoding};

/// A kind of secret.
pub(super) struct Standard {
    /// Name in marks and metrics. Must not be reused for another kind.
    pub(super) name: &'static str,
    /// Literals that are cheap to search for: every match of the pattern contains one of them. None is
    /// part of another.
    pub(super) literals: &'static [&'static str],
    /// Regular expression. The group named `secret` is replaced; without one, the whole match.
    pub(super) pattern: &'static str,
    /// A check of the match that the pattern cannot express.
    pub(super) check: Option<fn(&str) -> bool>,
    /// A byte that every match has after the literal. If a literal is common, texts without this byte need
    /// not be searched with the pattern.
    pub(super) companion: Option<u8>,
}

const fn rule(
    name: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Standard {
    Standard { name, literals, pattern, check: None, companion: None }
}

pub(super) const STANDARD: &[Standard] = &[
    // Model providers.
    rule("anthropic-key", &["sk-ant-"], r"sk-ant-[A-Za-z0-9_-]{20,}"),
    rule(
        "openai-key",
        &["sk-proj-", "sk-svcacct-", "sk-admin-", "T3BlbkFJ"],
        r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}",
    ),
    rule("openrouter-key", &["sk-or-v1-"], r"sk-or-v1-[0-9a-f]{64}"),
    rule("huggingface-token", &["hf_"], r"(?-u:\b)hf_[A-Za-z0-9]{34,}"),
    rule("groq-key", &["gsk_"], r"(?-u:\b)gsk_[A-Za-z0-9]{48,}"),
    rule("xai-key", &["xai-"], r"(?-u:\b)xai-[A-Za-z0-9]{60,}"),
    rule("perplexity-key", &["pplx-"], r"(?-u:\b)pplx-[A-Za-z0-9]{40,}"),
    rule("replicate-token", &["r8_"], r"(?-u:\b)r8_[A-Za-z0-9]{37}"),
    rule("langsmith-key", &["lsv2_"], r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    // Code hosts and package registries.
    rule(
        "github-token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        r"gh[pousr]_[A-Za-z0-9_]{36,255}|github_pat_[A-Za-z0-9_]{22,255}",
    ),
    rule(
        "gitlab-token",
        &["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glft-", "glsoat-", "glagent-"],
        r"gl(?:pat|dt|rt|ptt|cbt|ft|soat|agent)-[A-Za-z0-9_.=-]{20,}",
    ),
    rule(
        "npm-token",
        &["npm_", "_authToken"],
        r#"(?-u:\b)(?:npm_[A-Za-z0-9]{36}|_authToken\s{0,4}=\s{0,4}"?(?P<secret>[^\s"'\[\]$]{8,}))"#,
    ),
    rule("pypi-token", &["pypi-AgE"], r"pypi-AgE[A-Za-z0-9_-]{50,}"),
    rule("rubygems-key", &["rubygems_"], r"rubygems_[0-9a-f]{48}"),
    rule("docker-token", &["dckr_pat_"], r"dckr_pat_[A-Za-z0-9_-]{20,}"),
    // Clouds and infrastructure.
    rule("aws-access-key-id", &["AKIA", "ASIA"], r"(?-u:\b)(?:AKIA|ASIA)[A-Z2-7]{16}(?-u:\b)"),
    rule(
        "aws-secret-key",
        &["aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "SecretAccessKey"],
        r#"(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY|SecretAccessKey)["'\\]{0,3}\s{0,4}[:=]\s{0,4}["'\\]{0,3}(?P<secret>[A-Za-z0-9/+]{40})"#,
    ),
    rule("google-key", &["AIza"], r"(?-u:\b)AIza[0-9A-Za-z_-]{35}"),
    rule(
        "google-oauth-token",
        &["ya29.", "GOCSPX-"],
        r"(?-u:\b)(?:ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[0-9A-Za-z_-]{28})",
    ),
    rule("azure-storage-key", &["AccountKey="], r"AccountKey=(?P<secret>[A-Za-z0-9+/]{80,}={0,2})"),
    rule("digitalocean-token", &["dop_v1_", "doo_v1_", "dor_v1_"], r"do[opr]_v1_[0-9a-f]{64}"),
    rule("databricks-token", &["dapi"], r"(?-u:\b)dapi[0-9a-f]{32}(?:-[0-9])?"),
    rule("doppler-token", &["dp.pt."], r"(?-u:\b)dp\.pt\.[A-Za-z0-9]{40,}"),
    rule("vault-token", &["hvs.", "hvb."], r"(?-u:\b)hv[sb]\.[A-Za-z0-9_-]{24,}"),
    rule("terraform-token", &[".atlasv1."], r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    rule("planetscale-token", &["pscale_"], r"pscale_(?:pw|tkn|oauth)_[A-Za-z0-9_.=-]{32,}"),
    rule("supabase-token", &["sbp_"], r"(?-u:\b)sbp_[0-9a-f]{40}"),
    rule(
        "grafana-token",
        &["glsa_", "glc_ey"],
        r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_ey[A-Za-z0-9+/=]{32,}",
    ),
    rule(
        "sentry-token",
        &["sntrys_", "sntryu_"],
        r"sntrys_ey[A-Za-z0-9+/=_]{40,}|sntryu_[0-9a-f]{64}",
    ),
    // Other services.
    rule(
        "slack-token",
        &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxe.", "xapp-"],
        r"(?-u:\b)(?:xox[abeprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,})",
    ),
    rule(
        "slack-webhook",
        &["hooks.slack.com/"],
        r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/_-]{20,})",
    ),
    rule(
        "discord-webhook",
        &["/api/webhooks/"],
        r"discord(?:app)?\.com/api/webhooks/(?P<secret>[0-9]{15,20}/[A-Za-z0-9_-]{60,})",
    ),
    rule(
        "stripe-key",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
        r"(?-u:\b)(?:[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,})",
    ),
    rule("sendgrid-key", &["SG."], r"(?-u:\b)SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    rule(
        "shopify-token",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",
    ),
    rule("notion-token", &["ntn_"], r"(?-u:\b)ntn_[A-Za-z0-9]{40,}"),
    rule("linear-key", &["lin_api_"], r"lin_api_[A-Za-z0-9]{40}"),
    rule("atlassian-token", &["ATATT3"], r"ATATT3[A-Za-z0-9_=-]{60,}"),
    // Kinds without an issuer.
    rule("age-key", &["AGE-SECRET-KEY-1"], r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    rule(
        "jwt",
        &["eyJ"],
        r"(?-u:\b)eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    ),
    // Up to the end line; in a truncated text, as far as it is base64. Never past another line of dashes: a
    // search to the end of the text from each begin line would take quadratic time.
    rule(
        "private-key",
        &["-----BEGIN "],
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:(?:[^-]|-{1,4}[^-])*?-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|(?:\s|\\[nr])*[A-Za-z0-9+/=]{16}(?:[A-Za-z0-9+/=]|[ \t]*(?:[\r\n]|\\[nr])[ \t]*)*)",
    ),
    Standard {
        name: "bearer-token",
        literals: &["Bearer ", "bearer ", "BEARER "],
        pattern: r"(?-u:\b)(?:Bearer|bearer|BEARER) +(?P<secret>[A-Za-z0-9._~+/-]{20,}=*)",
        check: Some(is_random),
        companion: None,
    },
    Standard {
        name: "basic-auth",
        literals: &["Basic ", "basic ", "BASIC "],
        pattern: r"(?-u:\b)(?:Basic|basic|BASIC) +(?P<secret>[A-Za-z0-9+/]{4,}={0,2})",
        check: Some(is_basic_auth),
        companion: None,
    },
    Standard {
        name: "url-password",
        literals: &["://"],
        pattern: r#"://[^\s/:@"'<>\[\]\\]{0,100}:(?P<secret>[^\s/@"'<>\[\]\\]{1,256})@"#,
        check: None,
        companion: Some(b'@'),
    },
];

/// Whether the text has a digit, or letters of both cases, as random text has.
fn is_random(text: &str) -> bool {
    let any = |kind: fn(&u8) -> bool| text.as_bytes().iter().any(kind);
    any(u8::is_ascii_digit) || any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase)
}

/// Whether this is the base64 of `user:password` (RFC 7617), which words never are.
fn is_basic_auth(base64: &str) -> bool {
    // Matches can end in the middle of a group, so unused bits are not checked.
    static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
        let mut specification = BASE64_NOPAD.specification();
        specification.check_trailing_bits = false;
        specification.encoding().unwrap_or(BASE64_NOPAD)
    });
    let digits = base64.trim_end_matches('=').as_bytes();
    let whole = digits.len() - usize::from(digits.len() % 4 == 1);
    let decoded = LENIENT.decode(&digits[..whole]).unwrap_or_default();
    decoded.contains(&b':') && !decoded.iter().any(u8::is_ascii_control)
}
