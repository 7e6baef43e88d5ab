// The demo store, run directly: npx tsx testutils/notifierstore.ts
import { run } from '../cmd/main.ts';

const code = await run(['notifierstore', ...process.argv.slice(2)]);
if (code !== undefined) process.exitCode = code;
