// The tamper lab in short: real agents before an honest log, before one whose map leaves events out, and before one that refuses to prove anything. All its lies are
// mounted by `node --import tsx testutils/tamper/lab.ts`.
import { jest } from '@jest/globals';
import { expected, faultsOf, mount } from './lab.ts';
import { serverLies } from './lying-server.ts';

jest.setTimeout(90_000);

it.each(['nothing', 'omission', 'refuses-proofs'] as const)(
  'notices %s, and says nothing false',
  async (lie) => {
    expect(faultsOf(lie, await mount(lie))).toEqual([]);
  },
);

it('expects something of every lie', () => {
  expect(Object.keys(expected).sort()).toEqual(['nothing', ...Object.keys(serverLies)].sort());
});
