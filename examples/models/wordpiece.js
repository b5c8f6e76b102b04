// A text as BERT's tokens, for uncased vocabularies: what Python leaves to the tokenizers package.
//
// Devlin et al.: BERT (2019), and Wu et al.: Google's Neural Machine Translation System (2016), section 4.1, for the pieces.

const LONGEST = 100; // characters of a word that is cut into pieces
// ASCII punctuation counts as such even where Unicode calls it a symbol.
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}]/u;
const CHINESE = /[㐀-䶿一-鿿豈-﫿\u{20000}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/u;

/** Words and punctuation, without accents, in lower case. @param {string} text */
export function words(text) {
  const clean = text.replace(/[\u0000\uFFFD]|(?![\t\n\r])[\p{Cc}\p{Cf}]/gu, "").toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "");
  let spaced = "";
  for (const c of clean) spaced += PUNCTUATION.test(c) || CHINESE.test(c) ? ` ${c} ` : c;
  return spaced.split(/\s+/u).filter(Boolean);
}

export class WordPiece {
  /** @param {string[]} vocabulary */
  constructor(vocabulary) {
    this.ids = new Map(vocabulary.map((token, i) => [token, i]));
    const id = (/** @type {string} */ token) => {
      const found = this.ids.get(token);
      if (found === undefined) throw Error(`the vocabulary has no ${token}`);
      return found;
    };
    this.begin = id("[CLS]");
    this.end = id("[SEP]");
    this.unknown = id("[UNK]");
  }

  /** The longest pieces that the vocabulary has, from the left. @param {string} word @returns {number[]} */
  pieces(word) {
    const characters = [...word], /** @type {number[]} */ found = [];
    if (characters.length > LONGEST) return [this.unknown];
    for (let start = 0; start < characters.length; ) {
      let end = characters.length, id;
      for (; end > start; end--) {
        id = this.ids.get((start ? "##" : "") + characters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return [this.unknown];
      found.push(id);
      start = end;
    }
    return found;
  }

  /** @param {string} text @param {number} most tokens, the two at the ends included @returns {number[]} */
  encode(text, most) {
    return [this.begin, ...words(text).flatMap((w) => this.pieces(w)).slice(0, most - 2), this.end];
  }
}
