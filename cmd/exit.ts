// What the exit codes of qed mean. A server or a tool that failed for any other reason ends with 1.
export const EXIT_FAILED = 1;
/** The command line, a variable or a configuration file was wrong. */
export const EXIT_USAGE = 64;
