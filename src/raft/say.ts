// Where the core's remarks go. The driver decides what becomes of them; the texts are part of the core's tested behaviour.

export type SayLevel = 'debug' | 'info' | 'warn' | 'error';
export type Say = (level: SayLevel, line: string) => void;

export const silent: Say = () => undefined;
