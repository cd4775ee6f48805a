//! Block tree to PDF, with counted pages, in a child process.
