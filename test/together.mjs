// Runs several compiled test files in one process: test/run.mjs starts it for those that need no process of their own.
const files = JSON.parse(process.env.SNOOPY_TOGETHER ?? '[]');
for (const file of files) await import(file);
