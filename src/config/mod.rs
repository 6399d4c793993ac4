//! What the operator wrote, turned into what the rooms need. (essay to be written by the room's builder)
