import { crashRounds } from '../../testutils/crash-rounds.ts';

describe('a writing process that is killed', () => {
  it('leaves everything it acknowledged, and nothing that does not verify', async () => {
    const report = await crashRounds(6, 42, 20, 200);
    expect(report.problems).toEqual([]);
    expect(report.acknowledgedBatches).toBeGreaterThan(0);
  });
});
