// The tamper lab in short: real agents before a log that is honest first, and then shows another history, or a map that leaves events out. All its lies are mounted by
// `node --import tsx testutils/tamper/lab.ts`.
import { expected, faultsOf, mount } from './lab.ts';
import { serverLies } from './lying-server.ts';

it.each(['split-view', 'omission'] as const)('notices %s, proves it, and says nothing false', async (lie) => {
  expect(faultsOf(lie, await mount(lie))).toEqual([]);
});

it('expects something of every lie', () => {
  expect(Object.keys(expected).sort()).toEqual(['nothing', ...Object.keys(serverLies)].sort());
});
