#!/usr/bin/env node
import { hideBin } from 'yargs/helpers';
import { run } from './main.ts';

const code = await run(hideBin(process.argv));
if (code !== undefined) process.exitCode = code;
