def subject(text): return text
