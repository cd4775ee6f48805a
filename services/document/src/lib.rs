//! Documents, their page rule, sources, outline, sections and exports.
