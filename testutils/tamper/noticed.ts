// The alerts that a snapshot store was given, in short.
import { z } from 'zod';

export interface Noticed {
  readonly by: string;
  readonly kind: string;
  readonly code: string | undefined;
  readonly message: string;
}

const alertList = z.array(
  z.looseObject({
    alert: z.looseObject({
      kind: z.string(),
      code: z.string().optional(),
      message: z.string(),
      agent: z.looseObject({ role: z.string() }),
    }),
  }),
);

export async function noticedAt(store: string): Promise<Noticed[]> {
  const list = alertList.parse(await (await fetch(`http://${store}/alert`)).json());
  return list.map(({ alert: { kind, code, message, agent } }) => ({ by: agent.role, kind, code, message }));
}
